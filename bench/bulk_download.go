package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/voicory/warehouse/exports"
)

const (
	targetBulk       = 50.0  // × faster than pages
	targetBulkMemory = 150.0 // MiB above idle
	targetROAPI      = 2.0   // × faster
	smallShare       = 4
)

// bulk measures how long a client takes to read all calls of a tenant, as files and as pages, and the memory of the
// server meanwhile.
func (b *bench) bulk(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	_, key, err := largestFile(ctx, big.data)
	if err != nil {
		return err
	}
	var files, pages sample
	var peak float64
	if err := b.withServer(ctx, big.data, key, func(ctx context.Context, c *client) error {
		if peak, err = peakAboveIdle(ctx, c, b.started); err != nil {
			return err
		}
		for range b.rounds {
			if err := files.timed(func() error { return c.readFiles(ctx) }); err != nil {
				return err
			}
		}
		logf("read %s calls page by page", thousands(2*b.rows))
		return pages.timed(func() error { return c.readPages(ctx, 2*b.rows) })
	}, "--rate-limit", "none"); err != nil {
		return err
	}
	if err := b.compareROAPI(ctx, big, files); err != nil {
		return err
	}
	factor := pages.median() / files.median()
	b.table.add(row{"all " + thousands(2*b.rows) + " calls of a tenant as published files, HTTP",
		"the REST pages of the " +
			"same server, without rate limits, once", fmt.Sprintf("≥ %g× faster", targetBulk),
		fmt.Sprintf("%.2f s against %.1f s", files.median()/1000, pages.median()/1000),
		result(fmt.Sprintf("%.0f×", factor), factor >= targetBulk)})

	file, err := b.calls(2 * b.rows / smallShare)
	if err != nil {
		return err
	}
	small := filepath.Join(b.dir, "quarter")
	if _, _, err := b.voicoryIngest(ctx, small, file); err != nil {
		return err
	}
	if _, key, err = largestFile(ctx, small); err != nil {
		return err
	}
	var smallPeak float64
	if err := b.withServer(ctx, small, key, func(ctx context.Context, c *client) error {
		smallPeak, err = peakAboveIdle(ctx, c, b.started)
		return err
	}, "--rate-limit", "none"); err != nil {
		return err
	}
	b.table.add(row{"peak memory above idle: streams of " + thousands(2*b.rows) + " calls in each format, and all files",
		"of a quarter of the rows", fmt.Sprintf("≤ %g MiB", targetBulkMemory),
		fmt.Sprintf("%.0f MiB against %.0f MiB", peak, smallPeak),
		result(fmt.Sprintf("%.2f×", peak/smallPeak), peak <= targetBulkMemory)})
	return os.RemoveAll(small)
}

// compareROAPI measures how long ROAPI takes to return the same calls from the same files as Parquet. files is the time
// of the server.
func (b *bench) compareROAPI(ctx context.Context, big *loaded, files sample) error {
	var theirs sample
	var peak float64
	there, err := b.withROAPI(ctx, big.data, func(ctx context.Context, there *client) (err error) {
		for range b.rounds {
			if err := theirs.timed(func() error {
				return there.queryROAPI(ctx, "SELECT * FROM calls",
					"application/parquet")
			}); err != nil {
				return err
			}
		}
		peak, err = peakMemory(b.started)
		return err
	})
	if err != nil || !there {
		return err
	}
	factor := theirs.median() / files.median()
	b.table.add(row{"the same files", "ROAPI over the same Parquet, all calls as Parquet",
		fmt.Sprintf("≥ %g× faster", targetROAPI),
		fmt.Sprintf("%.2f s against %.2f s; ROAPI's peak %.0f MiB", files.median()/1000, theirs.median()/1000, peak),
		result(fmt.Sprintf("%.0f×", factor), factor >= targetROAPI)})
	return nil
}

// withROAPI calls use while ROAPI serves the published files of a data folder. It installs ROAPI in a virtual
// environment, and returns false if that fails.
func (b *bench) withROAPI(
	ctx context.Context,
	data string,
	use func(context.Context, *client) error,
) (there bool, err error) {
	venv := filepath.Join(b.dir, "roapi")
	for _, command := range []*exec.Cmd{exec.CommandContext(ctx, "python3", "-m", "venv", venv),
		exec.CommandContext(ctx, filepath.Join(venv, "bin", "pip"), "--quiet", "install", "roapi")} {
		if out, err := command.CombinedOutput(); err != nil {
			logf("skip ROAPI, because it cannot be installed: %v %.200s", err, out)
			return false, ctx.Err()
		}
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return false, err
	}
	asking := newClient("http://"+address, "none")
	defer asking.http.CloseIdleConnections()
	ready := func(ctx context.Context) error {
		_, err := asking.get(ctx, "/api/tables/calls?limit=1")
		return err
	}
	args := []string{"--addr-http", address, "--addr-postgres", "127.0.0.1:0", "--addr-flight-sql", "127.0.0.1:0"}
	for _, table := range []string{"calls", "transcript_turns", "cost_daily"} {
		args = append(args, "--table",
			table+"="+filepath.Join(data, "lake", "tenant_id="+tenantID.String(), table)+
				",format=parquet,use_memory_table=false")
	}
	return true, b.withProcess(ctx, ready, func(ctx context.Context) error { return use(ctx, asking) },
		filepath.Join(venv, "bin", "roapi"), args...)
}

// queryROAPI runs a statement and discards the response.
func (c *client) queryROAPI(ctx context.Context, statement, accept string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/sql", strings.NewReader(statement))
	if err != nil {
		return err
	}
	request.Header.Set("Accept", accept)
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ROAPI: %s: %s", response.Status, statement)
	}
	return discard(response.Body)
}

// peakAboveIdle returns by how many MiB the peak memory of the server grows over its value after one page.
func peakAboveIdle(ctx context.Context, c *client, server int) (float64, error) {
	idle, err := peakMemory(server)
	if err != nil {
		return 0, err
	}
	for _, format := range exports.Formats {
		if err := c.drain(ctx, "/api/v1/exports/calls?format="+string(format)); err != nil {
			return 0, err
		}
		peak, err := peakMemory(server)
		if err != nil {
			return 0, err
		}
		logf("%s: %.0f MiB above %.0f MiB", format, peak-idle, idle)
	}
	if err := c.readFiles(ctx); err != nil {
		return 0, err
	}
	peak, err := peakMemory(server)
	return peak - idle, err
}

// peakMemory returns the peak memory of a process in MiB.
func peakMemory(process int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	if err != nil {
		return 0, fmt.Errorf("read the peak memory of a process: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	return kib / (1 << 10), err
}

// readFiles reads all published files of the calls.
func (c *client) readFiles(ctx context.Context) error {
	list, err := c.get(ctx, "/api/v1/exports/calls/files")
	if err != nil {
		return err
	}
	for _, file := range gjson.GetBytes(list, "data.#.url").Array() {
		if err := c.drain(ctx, file.String()); err != nil {
			return err
		}
	}
	return nil
}

// readPages follows the cursors of the calls to the end, with pages of the maximum size.
func (c *client) readPages(ctx context.Context, want int) error {
	rows := 0
	for cursor := ""; ; {
		page, err := c.get(ctx, "/api/v1/calls?limit=100&include_total=false&cursor="+cursor)
		if err != nil {
			return err
		}
		rows += int(gjson.GetBytes(page, "data.#").Int())
		if cursor = gjson.GetBytes(page, "meta.next_cursor").String(); cursor == "" {
			break
		}
	}
	if rows != want {
		return fmt.Errorf("the pages have %d rows, not %d", rows, want)
	}
	return nil
}
