// Podsecurity checks Pod templates against the restricted profile of Kubernetes' Pod Security Standards, with the code of
// the API server itself.
//
//	podsecurity VERSION < pods.json
//
// Standard input is a JSON array of {"name": …, "metadata": …, "spec": …}; standard output an array of
// {"name": …, "allowed": …, "reasons": […]}. VERSION is the version of the profile, such as v1.32, or latest.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

type pod struct {
	Name     string            `json:"name"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     corev1.PodSpec    `json:"spec"`
}

type result struct {
	Name    string   `json:"name"`
	Allowed bool     `json:"allowed"`
	Reasons []string `json:"reasons"`
}

func main() {
	if err := evaluate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func evaluate() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: podsecurity VERSION < pods.json")
	}
	version, err := api.ParseVersion(os.Args[1])
	if err != nil {
		return err
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		return err
	}
	var pods []pod
	if err := json.NewDecoder(os.Stdin).Decode(&pods); err != nil {
		return err
	}
	results := make([]result, 0, len(pods))
	level := api.LevelVersion{Level: api.LevelRestricted, Version: version}
	for _, pod := range pods {
		aggregate := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.Metadata, &pod.Spec))
		reasons := append([]string{}, aggregate.ForbiddenReasons...)
		results = append(results, result{pod.Name, aggregate.Allowed, append(reasons, aggregate.ForbiddenDetails...)})
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}
