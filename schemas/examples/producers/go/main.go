// Sends one event of an execution that has just finished, and prints its execution_id.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

func newUUID() string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		log.Fatal(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func main() {
	executionID := newUUID()
	event, err := json.Marshal(map[string]any{ // fails on NaN and infinities: omit such metrics
		"execution_id": executionID,
		"agent_name":   "example-go",
		"completed_at": time.Now().UTC().Format(time.RFC3339Nano),
		"labels":       map[string]any{"gen_ai.request.model": "large-2", "service.version": "2026.11.0"},
		"metrics":      map[string]any{"execution_time_ms": 1840, "cost_usd": 0.0132, "result_success": true},
	})
	if err != nil {
		log.Fatal(err)
	}
	writer := &kafka.Writer{
		Addr:         kafka.TCP(strings.Split(os.Getenv("KAFKA_BOOTSTRAP_SERVERS"), ",")...),
		Topic:        os.Getenv("KAFKA_TOPIC"),
		RequiredAcks: kafka.RequireAll,         // by default kafka-go does not wait for an acknowledgement
		Balancer:     &kafka.Murmur2Balancer{}, // the same partition as Java's client chooses
		BatchTimeout: 10 * time.Millisecond,    // the default is 1 s, which each call would wait
	}
	if err := writer.WriteMessages(context.Background(), kafka.Message{Key: []byte(executionID), Value: event}); err != nil {
		log.Fatal(err) // not acknowledged: send it again, a duplicate changes nothing
	}
	if err := writer.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(executionID)
}
