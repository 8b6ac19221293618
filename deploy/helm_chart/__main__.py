"""`python -m deploy.helm_chart`: write the generated files of the Helm chart."""

from deploy.helm_chart.chart import write_files

if __name__ == "__main__":
    write_files()
