package main

import (
	"fmt"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kgo"
)

type event struct {
	ExecutionID string            `json:"execution_id"`
	AgentName   string            `json:"agent_name"`
	UserID      *string           `json:"user_id"`
	Labels      map[string]string `json:"labels"`
	CompletedAt *time.Time        `json:"completed_at"`
	Metrics     map[string]any    `json:"metrics"`
}

// block holds the columns of one INSERT; it is used again and again, so that its memory is allocated once.
type block struct {
	executionIDs     proto.ColStr
	agentNames       *proto.ColLowCardinality[string]
	userIDs          *proto.ColNullable[string]
	labels           *proto.ColMap[string, string]
	metricTypes      *proto.ColLowCardinality[string]
	metricValues     proto.ColFloat64
	completedAts     *proto.ColDateTime64
	versions         proto.ColUInt128
	sourceTopics     *proto.ColLowCardinality[string]
	sourcePartitions proto.ColInt32
	input            proto.Input
	statement        string
	event            event
	pairs            []proto.KV[string, string]
}

func newBlock(table string) *block {
	b := &block{
		agentNames:   new(proto.ColStr).LowCardinality(),
		userIDs:      new(proto.ColStr).Nullable(),
		labels:       proto.NewMap(new(proto.ColStr).LowCardinality(), new(proto.ColStr).LowCardinality()),
		metricTypes:  new(proto.ColStr).LowCardinality(),
		completedAts: new(proto.ColDateTime64).WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC),
		sourceTopics: new(proto.ColStr).LowCardinality(),
	}
	b.input = proto.Input{
		{Name: "execution_id", Data: &b.executionIDs},
		{Name: "agent_name", Data: b.agentNames},
		{Name: "user_id", Data: b.userIDs},
		{Name: "labels", Data: b.labels},
		{Name: "metric_type", Data: b.metricTypes},
		{Name: "metric_value", Data: &b.metricValues},
		{Name: "completed_at", Data: b.completedAts},
		{Name: "version", Data: &b.versions},
		{Name: "source_topic", Data: b.sourceTopics},
		{Name: "source_partition", Data: &b.sourcePartitions},
	}
	b.statement = b.input.Into(table)
	return b
}

func (b *block) len() int { return b.metricValues.Rows() }

func (b *block) insert() ch.Query { return ch.Query{Body: b.statement, Input: b.input} }

func (b *block) reset() { b.input.Reset() }

// add appends one row for each number and boolean of the event.
func (b *block) add(record *kgo.Record) error {
	clear(b.event.Labels)
	clear(b.event.Metrics)
	b.event = event{Labels: b.event.Labels, Metrics: b.event.Metrics}
	e := &b.event
	if err := json.Unmarshal(record.Value, e); err != nil {
		return fmt.Errorf("partition %d, offset %d: %w", record.Partition, record.Offset, err)
	}
	completedAt := record.Timestamp
	if e.CompletedAt != nil {
		completedAt = *e.CompletedAt
	}
	var userID proto.Nullable[string]
	if e.UserID != nil {
		userID = proto.NewNullable(*e.UserID)
	}
	version := proto.UInt128{High: uint64(record.Timestamp.UnixMilli()), Low: uint64(record.Offset)}
	b.pairs = b.pairs[:0]
	for name, value := range e.Labels {
		b.pairs = append(b.pairs, proto.KV[string, string]{Key: name, Value: value})
	}
	for name, value := range e.Metrics {
		number, isRow := toNumber(value)
		if !isRow {
			continue
		}
		b.executionIDs.Append(e.ExecutionID)
		b.agentNames.Append(e.AgentName)
		b.userIDs.Append(userID)
		b.labels.AppendKV(b.pairs)
		b.metricTypes.Append(name)
		b.metricValues.Append(number)
		b.completedAts.Append(completedAt)
		b.versions.Append(version)
		b.sourceTopics.Append(record.Topic)
		b.sourcePartitions.Append(record.Partition)
	}
	return nil
}

func toNumber(value any) (float64, bool) {
	switch value := value.(type) {
	case float64:
		return value, true
	case bool:
		if value {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}
