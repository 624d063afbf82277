// What a program with clickhouse-go does, over the native port and over HTTP: `main native|http host:port password`.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

type row struct {
	ID    uint64
	Name  string
	At    time.Time
	Price float64
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	protocol := clickhouse.Native
	if os.Args[1] == "http" {
		protocol = clickhouse.HTTP
	}
	connection, err := clickhouse.Open(&clickhouse.Options{
		Protocol:    protocol,
		Addr:        []string{os.Args[2]},
		Auth:        clickhouse.Auth{Username: "default", Password: os.Args[3]},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
	})
	check(err)
	ctx := context.Background()
	check(connection.Ping(ctx))
	database := "go_" + os.Args[1]
	check(connection.Exec(ctx, "CREATE DATABASE "+database))
	check(connection.Exec(ctx, "CREATE TABLE "+database+".t (id UInt64, name LowCardinality(String), at DateTime64(6, 'UTC'), price Float64) ENGINE = MergeTree ORDER BY id"))
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO "+database+".t")
	check(err)
	at := time.Date(2024, 8, 8, 1, 2, 3, 456000, time.UTC)
	for n := uint64(0); n < 100000; n++ {
		check(batch.Append(n, fmt.Sprintf("n%d", n%7), at, float64(n)/2))
	}
	check(batch.Send())
	asked := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"least": "99998"}))
	rows, err := connection.Query(asked, "SELECT id, name, at, price FROM "+database+".t WHERE id >= {least:UInt64} ORDER BY id")
	check(err)
	for rows.Next() {
		var found row
		check(rows.Scan(&found.ID, &found.Name, &found.At, &found.Price))
		fmt.Println(found.ID, found.Name, found.At.UTC().Format(time.RFC3339Nano), found.Price)
	}
	check(rows.Err())
	var count uint64
	check(connection.QueryRow(ctx, "SELECT count() FROM "+database+".t").Scan(&count))
	fmt.Println(count)
	if err := connection.Exec(ctx, "SELECT * FROM "+database+".none"); err != nil {
		if failure, ok := err.(*clickhouse.Exception); ok {
			fmt.Println("code", failure.Code)
		} else {
			fmt.Println(err)
		}
	}
	check(connection.Exec(ctx, "DROP DATABASE "+database))
}
