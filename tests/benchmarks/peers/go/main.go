// Command consumer is the worker's peer in Go: franz-go, ch-go and goccy/go-json, blocks of 5,000 events.
//
// Usage: consumer SERVERS TOPIC GROUP HOST PORT DATABASE TABLE
//
// It commits after ClickHouse has acknowledged the rows, and ends at the first error; whatever starts it again reads
// the events again.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	blockEvents = 5_000
	linger      = 200 * time.Millisecond
)

func main() {
	if len(os.Args) != 8 {
		log.Fatalf("usage: %s SERVERS TOPIC GROUP HOST PORT DATABASE TABLE", os.Args[0])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, arguments []string) error {
	servers, topic, group := arguments[0], arguments[1], arguments[2]
	host, port, database, table := arguments[3], arguments[4], arguments[5], arguments[6]
	store, err := ch.Dial(ctx, ch.Options{
		Address:     net.JoinHostPort(host, port),
		Database:    database,
		ReadTimeout: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("connect to ClickHouse: %w", err)
	}
	defer store.Close()
	events, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(servers, ",")...),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(4*time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.MaxVersions(kversion.V4_0_0()), // Tansu closes a connection that asks for newer ones
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
			fmt.Println("ready", os.Getpid())
		}),
	)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer events.CloseAllowingRebalance()

	for rows := newBlock(table); ; {
		if err := gather(ctx, events, rows); err != nil {
			return err
		}
		if rows.len() > 0 {
			if err := store.Do(ctx, rows.insert()); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
		}
		if err := events.CommitUncommittedOffsets(ctx); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		events.AllowRebalance()
		rows.reset()
	}
}

// gather fills rows with the next events: a full block, or those that came within the linger after the first.
func gather(ctx context.Context, events *kgo.Client, rows *block) error {
	gathered := 0
	add := func(fetches kgo.Fetches) error {
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		for records := fetches.RecordIter(); !records.Done(); gathered++ {
			if err := rows.add(records.Next()); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(events.PollRecords(ctx, blockEvents)); err != nil {
		return err
	}
	timely, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	for gathered < blockEvents {
		err := add(events.PollRecords(timely, blockEvents-gathered))
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
