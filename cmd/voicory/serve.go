package main

import (
	"context"
	"time"

	"github.com/voicory/warehouse/cmd/voicory/internal/server"
	"github.com/voicory/warehouse/exports/bucket"
)

type serveCommand struct {
	Listen              string        `help:"Address to serve on (${default})." default:"localhost:8080" placeholder:"ADDRESS"`
	TLSCert             string        `name:"tls-cert" help:"Certificate for HTTPS and HTTP/2. A renewed file is used without a restart." type:"path" placeholder:"FILE"`
	TLSKey              string        `name:"tls-key" help:"Private key of the certificate." type:"path" placeholder:"FILE"`
	OperatorListen      string        `help:"Address for monitoring: /metrics, /healthz and /readyz. Without it /metrics is only on the admin socket." placeholder:"ADDRESS"`
	TablesListen        string        `help:"Address for the tables with the rows of all tenants: an Iceberg catalog and its files. It needs a token." placeholder:"ADDRESS"`
	TablesTokenFile     string        `help:"File with the token for --tables-listen, at least 32 characters (default: the environment variable VOICORY_TABLES_TOKEN)." type:"path" placeholder:"FILE"`
	Config              string        `help:"File with the sources to pull from and their schedule; see config.example.yaml." type:"path" placeholder:"FILE"`
	StopTimeout         time.Duration `help:"Time for requests to finish on shutdown (${default}). Then they are cancelled; 10 s later the process exits in any case." default:"30s" placeholder:"TIME"`
	LogFormat           string        `help:"Format of log lines: text or json (${default})." enum:"text,json" default:"text" placeholder:"FORMAT"`
	KeepRequests        time.Duration `help:"Retention of the request log (${default})." default:"720h" placeholder:"TIME"`
	ScrubEvery          time.Duration `help:"Period in which every published file is read from the disk once and compared with its SHA-256 (${default}); 0 to disable." default:"168h" placeholder:"TIME"`
	MaxBody             byteSize      `help:"Maximum size of a pushed body as it is sent (${default}); at most eight times that when decompressed." default:"1GB" placeholder:"SIZE"`
	Lake                string        `help:"Bucket that the tables of all tenants are replicated to; see docs/bucket.md. Credentials are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from the files of the AWS tools." placeholder:"s3://BUCKET/PREFIX"`
	LakeEndpoint        string        `help:"URL of the object store with the bucket. Default: Amazon S3 in the region." placeholder:"URL"`
	LakeRegion          string        `help:"Region of the bucket (${default})." default:"us-east-1" env:"VOICORY_LAKE_REGION,AWS_REGION" placeholder:"NAME"`
	LakeStyle           string        `help:"Place of the bucket's name in URLs: path, virtual (in the host) or auto (${default})." enum:"auto,path,virtual" default:"auto" placeholder:"STYLE"`
	LakeCache           byteSize      `help:"With --lake, bytes of published files to keep on this disk. Files in the bucket are removed here, least recently used first, and fetched when they are read. Default: all files stay." placeholder:"SIZE"`
	AllowUnsandboxedSQL bool          `name:"allow-unsandboxed-sql" help:"Run SQL of users even if the kernel lacks a protection of the sandbox. The other protections stay active."`
	limitFlags
}

// Run serves the API and the operator's socket until ctx is done.
func (c *serveCommand) Run(ctx context.Context, m *Main, f *flags) error {
	log := server.NewLogger(m.Stderr, c.LogFormat == "json")
	return server.Run(ctx, server.Options{
		Warehouse: f.warehouse(true, log), Listen: c.Listen, TLSCert: c.TLSCert, TLSKey: c.TLSKey,
		OperatorListen: c.OperatorListen, TablesListen: c.TablesListen, TablesToken: c.TablesTokenFile,
		Config: c.Config, StopTimeout: c.StopTimeout, KeepRequests: c.KeepRequests,
		ScrubEvery: c.ScrubEvery,
		Bucket:     bucket.Options{URL: c.Lake, Endpoint: c.LakeEndpoint, Region: c.LakeRegion, Style: c.LakeStyle},
		LakeCache:  int64(c.LakeCache),
		MaxBody:    int64(c.MaxBody), Limits: c.limits(), AllowUnsandboxedSQL: c.AllowUnsandboxedSQL,
		NoIdleWorkers: m.NoIdleWorkers,
		Log:           log, Listening: m.Listening, Exit: func() { m.exit(exitFailed) },
	})
}
