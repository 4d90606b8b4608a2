package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

const targetFile = 0.8 // × the requests per second of nginx

// files measures a published file over HTTP against nginx with the same file.
func (b *bench) files(ctx context.Context) error {
	const work = "a published file by HTTP"
	if !b.canRun("wrk", work) || !b.canRun("nginx", work) {
		return nil
	}
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	file, key, err := largestFile(ctx, big.data)
	if err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	root := filepath.Join(big.data, "published", tenantID.String())
	config := filepath.Join(b.dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, b.dir, b.dir, address, root), 0o600); err != nil {
		return err
	}
	var ours, nginx sample
	there := &client{http: http.DefaultClient, url: "http://" + address}
	ready := func(ctx context.Context) error {
		_, err := there.get(ctx, "/"+file.Name)
		return err
	}
	err = b.withServer(ctx, big.data, key, func(ctx context.Context, c *client) error {
		return b.withProcess(ctx, ready, func(ctx context.Context) error {
			path := "/api/v1/exports/calls/files/" + file.Name
			same, err := c.get(ctx, path)
			if err != nil {
				return err
			}
			if int64(len(same)) != file.Bytes {
				return fmt.Errorf("got a file of %d bytes, want %d", len(same), file.Bytes)
			}
			for i := range b.rounds {
				speeds, err := measurePair(ctx, b.wrk(c.url, clients, fmt.Appendf(nil, "%s %s\n", c.key, path)),
					b.wrk(there.url, clients, fmt.Appendf(nil, "none /%s\n", file.Name)))
				if err != nil {
					return err
				}
				ours, nginx = append(ours, speeds[0].perSecond), append(nginx, speeds[1].perSecond)
				logf("round %d: %.0f/s, nginx %.0f/s", i+1, ours[i], nginx[i])
			}
			return nil
		}, "nginx", "-c", config)
	}, "--rate-limit", "none")
	if err != nil {
		return err
	}
	ratios := ratioOfEach(ours, nginx)
	perSecond := func(s sample) float64 { return s.median() * float64(file.Bytes) / 1e9 }
	b.table.add(row{fmt.Sprintf("a published file of %.1f MB by HTTP, %d connections", float64(file.Bytes)/1e6, clients),
		"nginx with the same file (sendfile)", fmt.Sprintf("≥ %g×", targetFile),
		fmt.Sprintf("%.2f GB/s against %.2f GB/s", perSecond(ours), perSecond(nginx)),
		result(ratios.ratio(), ratios.median() >= targetFile)})
	return nil
}

// nginxConfig has the parameters: folder for nginx's files (twice), address, and served folder.
const nginxConfig = `daemon off; pid %s/nginx.pid; error_log stderr; worker_processes auto; user root;
events {}
http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path %s/nginx; server { listen %s; root %s; } }
`

// largestFile returns the largest published file of the calls, and a secret key to read it.
func largestFile(ctx context.Context, data string) (file warehouse.PublishedFile, key string, err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: data})
	if err != nil {
		return file, "", err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, key, err = w.CreateKey(ctx, tenantID, control.Secret, control.KeySettings{Label: "bench"}); err != nil {
		return file, "", err
	}
	files, err := w.PublishedFiles(ctx, tenantID)
	if err != nil {
		return file, "", err
	}
	files = slices.DeleteFunc(files, func(f warehouse.PublishedFile) bool { return f.Export != "calls" })
	if len(files) == 0 {
		return file, "", errors.New("no file of the calls is published")
	}
	return slices.MaxFunc(files, func(a, b warehouse.PublishedFile) int { return int(a.Bytes - b.Bytes) }), key, nil
}
