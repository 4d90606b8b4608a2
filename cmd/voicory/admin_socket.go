package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// The admin API is HTTP over a Unix socket with mode 0600, so only the user of the server can connect. Client and
// server are the same program: requests and replies are the Go types of the admin interface as JSON, and a file is sent
// as the request body.

// listenAdmin listens on the admin socket. The caller holds the lock of the data folder, so an existing socket is a
// leftover of a process that was killed, and is removed. The socket never has a wider mode than 0600: Linux creates it
// with the mode of its descriptor, and on other systems the umask of the process applies.
func listenAdmin(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	listener, err := (&net.ListenConfig{Control: chmodSocket}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w; if its path is longer than 100 characters, choose a shorter --data", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), listener.Close())
	}
	return listener, nil
}

// chmodSocket sets the mode of a socket before it is bound. It ignores errors, because listenAdmin sets the mode again.
func chmodSocket(_, _ string, socket syscall.RawConn) error {
	return socket.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}

// adminHandler returns the handler of the admin API and of /metrics.
func adminHandler(api localAdmin, registry *prometheus.Registry, log *slog.Logger) http.Handler {
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	route := func(pattern string, answer func(r *http.Request) (any, error)) {
		routes.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := answer(r)
			reply := adminReply{}
			if err == nil {
				reply.Result, err = json.Marshal(result)
			}
			if err != nil {
				log.Warn("admin request failed", "path", r.URL.Path, "error", err)
				reply.Error, reply.Kind = err.Error(), errorKind(err)
			}
			_ = json.NewEncoder(w).Encode(reply) // the client may have disconnected
		})
	}
	route("POST /ingest", func(r *http.Request) (any, error) {
		query := r.URL.Query()
		tenant, err := parseOptionalUUID(query.Get("tenant"))
		if err != nil {
			return nil, err
		}
		files, err := receiveFiles(r, ingest.Input{Dataset: query.Get("dataset"), Tenant: tenant})
		if err != nil {
			return nil, err
		}
		return api.Ingest(r.Context(), files)
	})
	route("POST /sync", func(r *http.Request) (any, error) {
		var spec sourceSpec
		if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
			return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		return api.Sync(r.Context(), spec, func(int64, int64) {})
	})
	routes.HandleFunc("GET /quarantine", func(w http.ResponseWriter, r *http.Request) {
		stream(w, r, log, func(out io.Writer) error { return streamRefusals(r, api, out) })
	})
	route("POST /quarantine/replay", func(r *http.Request) (any, error) {
		return api.Replay(r.Context(), r.URL.Query()["file"])
	})
	route("DELETE /quarantine", func(r *http.Request) (any, error) {
		return nil, api.RemoveQuarantined(r.Context(), r.URL.Query()["file"])
	})
	routes.HandleFunc("POST /export", exportHandler(api, log))
	route("POST /publish", func(r *http.Request) (any, error) { return api.Publish(r.Context()) })
	route("GET /keys", func(r *http.Request) (any, error) { return api.Keys(r.Context()) })
	route("GET /sources", func(r *http.Request) (any, error) { return api.Sources(r.Context()) })
	route("GET /tenants", func(r *http.Request) (any, error) { return api.Tenants(r.Context()) })
	route("POST /keys", func(r *http.Request) (any, error) {
		var key control.Key
		if err := json.NewDecoder(r.Body).Decode(&key); err != nil {
			return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		return api.CreateKey(r.Context(), key.Tenant, key.Type, key.KeySettings)
	})
	route("PUT /keys/{id}", func(r *http.Request) (any, error) {
		id, err := uuid.Parse(r.PathValue("id"))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		var settings control.KeySettings
		if err := json.NewDecoder(r.Body).Decode(&settings); err != nil {
			return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		return api.UpdateKey(r.Context(), id, settings)
	})
	route("GET /requests", func(r *http.Request) (any, error) {
		var q requestLogQuery
		if err := json.Unmarshal([]byte(r.URL.Query().Get("query")), &q); err != nil {
			return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		return api.Requests(r.Context(), q.Since, q.Tenant, q.Limit)
	})
	routes.HandleFunc("POST /query", func(w http.ResponseWriter, r *http.Request) {
		stream(w, r, log, func(out io.Writer) error {
			var request query.Request
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				return fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
			}
			w.Header().Set("Trailer", queryTruncated)
			outcome, err := api.Query(r.Context(), request, out)
			w.Header().Set(queryTruncated, outcome.Truncated)
			return err
		})
	})
	route("DELETE /keys/{id}", func(r *http.Request) (any, error) {
		id, err := uuid.Parse(r.PathValue("id"))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		return api.RevokeKey(r.Context(), id)
	})
	return routes
}

// queryTruncated is the trailer of the reply to POST /query: the limit that truncated the result, or "".
const queryTruncated = "Voicory-Truncated"

// stream sends what write writes, without buffering it. If write returns an error before its first byte, stream sends
// an adminReply with status 422. After the first byte, it closes the connection, so that the client sees an incomplete
// body.
func stream(w http.ResponseWriter, r *http.Request, log *slog.Logger, write func(io.Writer) error) {
	out := &writeTracker{ResponseWriter: w}
	err := write(out)
	if err == nil {
		return
	}
	log.Warn("admin request failed", "path", r.URL.Path, "error", err)
	if out.written {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(adminReply{Error: err.Error(), Kind: errorKind(err)}) // the client may have disconnected
}

// streamRefusals writes refused rows to out as NDJSON.
func streamRefusals(r *http.Request, api admin, out io.Writer) error {
	limit, err := strconv.ParseInt(r.URL.Query().Get("limit"), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
	}
	lines := json.NewEncoder(out)
	for refusal, err := range api.Quarantine(r.Context(), limit) {
		if err == nil {
			err = lines.Encode(refusal)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeTracker records whether any byte of the response was written.
type writeTracker struct {
	http.ResponseWriter
	written bool
}

func (f *writeTracker) Write(p []byte) (int, error) {
	f.written = f.written || len(p) > 0
	return f.ResponseWriter.Write(p)
}

// adminReply is the body of a reply: a result, or an error with its kind.
type adminReply struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
	Kind   string          `json:"kind,omitempty"`
}

// errorKinds are the errors that errors.Is also finds in an error of remoteAdmin.
var errorKinds = []error{
	warehouse.ErrInvalid, warehouse.ErrNotFound, warehouse.ErrNoSpace, warehouse.ErrNotWritable, warehouse.ErrBusy,
}

// errorKind returns the text of the error kind that err wraps, or "" if it wraps none of errorKinds.
func errorKind(err error) string {
	for _, kind := range errorKinds {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return ""
}

// remoteError is an error that the server returned. It unwraps to its kind.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

// remoteAdmin implements admin by requests to a running server.
type remoteAdmin struct{ client *http.Client }

func dialAdmin(socket string) remoteAdmin {
	return remoteAdmin{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// send sends a request and returns the response, whose body the caller closes. The host of the URL is not used.
func (c remoteAdmin) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://voicory"+path, body)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, request)
}

// do sends a request and returns the response, whose body the caller closes.
func (c remoteAdmin) do(ctx context.Context, request *http.Request) (*http.Response, error) {
	response, err := c.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("send the request to the running server: %w", err)
	}
	return response, nil
}

// call sends a request and decodes the result of the reply.
func (c remoteAdmin) call(ctx context.Context, method, path string, body io.Reader, result any) error {
	response, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return readReply(response.Body, result)
}

// readReply decodes the result of a reply, or returns the error in it as a remoteError.
func readReply(body io.Reader, result any) error {
	var reply adminReply
	if err := json.NewDecoder(body).Decode(&reply); err != nil {
		return fmt.Errorf("read the reply of the running server: %w", err)
	}
	if reply.Error != "" {
		failure := &remoteError{text: reply.Error}
		for _, kind := range errorKinds {
			if kind.Error() == reply.Kind {
				failure.kind = kind
			}
		}
		return failure
	}
	return json.Unmarshal(reply.Result, result)
}

// Ingest sends the files of the group as the parts of a multipart body. A file that cannot be opened is sent as the
// error.
func (c remoteAdmin) Ingest(ctx context.Context, files []ingest.Input) (summary ingest.Summary, err error) {
	query := url.Values{"dataset": {files[0].Dataset}}
	if files[0].Tenant != uuid.Nil {
		query.Set("tenant", files[0].Tenant.String())
	}
	body, out := io.Pipe()
	defer func() { _ = body.Close() }() // always nil
	parts := multipart.NewWriter(out)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://voicory/ingest?"+query.Encode(), body)
	if err != nil {
		return summary, err
	}
	request.Header.Set("Content-Type", parts.FormDataContentType())
	go func() { // ends when body is closed, unless a read blocks for ever
		out.CloseWithError(sendFiles(parts, files))
	}()
	response, err := c.do(ctx, request)
	if err != nil {
		return summary, err
	}
	defer response.Body.Close()
	return summary, readReply(response.Body, &summary)
}

// sentFile is the header of a file that is sent to the server.
type sentFile struct {
	Name  string `json:"name"`
	Error string `json:"error"` // of opening the file; "": its content follows
	Last  bool   `json:"last"`
}

// sendFiles writes two parts for each file: a sentFile as JSON, and the content.
func sendFiles(parts *multipart.Writer, files []ingest.Input) error {
	for i, in := range files {
		if err := sendFile(parts, in, i == len(files)-1); err != nil {
			return err
		}
	}
	return parts.Close()
}

func sendFile(parts *multipart.Writer, in ingest.Input, last bool) error {
	header, body := sentFile{Name: in.Name, Last: last}, in.Body
	if body == nil {
		if opened, err := in.Open(); err == nil {
			defer opened.Close()
			body = opened
		} else {
			header.Error, body = err.Error(), strings.NewReader("")
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	if err := parts.WriteField("file", string(text)); err != nil {
		return err
	}
	part, err := parts.CreateFormFile("content", "content")
	if err != nil {
		return err
	}
	_, err = io.Copy(part, &progressReader{body, in.Progress})
	return err
}

// receiveFiles returns the files that sendFiles has written, with the fields of model. It reads the files of a group
// into memory, because they are small, but not a file that is sent alone.
func receiveFiles(r *http.Request, model ingest.Input) (files []ingest.Input, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, fmt.Errorf("%w: receive the files: %w", warehouse.ErrInvalid, err)
	}
	for {
		header, content, err := receiveFile(parts)
		if err != nil {
			return nil, fmt.Errorf("%w: receive the files: %w", warehouse.ErrInvalid, err)
		}
		in := model
		in.Name = header.Name
		switch {
		case header.Error != "":
			in.Open = func() (io.ReadCloser, error) { return nil, errors.New(header.Error) }
		case header.Last && len(files) == 0:
			in.Body = content
		default:
			text, err := io.ReadAll(content)
			if err != nil {
				return nil, fmt.Errorf("%w: receive the files: %w", warehouse.ErrInvalid, err)
			}
			in.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
		}
		if files = append(files, in); header.Last {
			return files, nil
		}
	}
}

// receiveFile returns the next file that sendFile has written.
func receiveFile(parts *multipart.Reader) (header sentFile, content io.Reader, err error) {
	part, err := parts.NextPart()
	if err != nil {
		return header, nil, err
	}
	if err := json.NewDecoder(part).Decode(&header); err != nil {
		return header, nil, err
	}
	content, err = parts.NextPart()
	return header, content, err
}

// progressReader calls progress, if it is not nil, with the number of bytes of each read.
type progressReader struct {
	in       io.Reader
	progress func(int64)
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if r.progress != nil {
		r.progress(int64(n))
	}
	return n, err
}

// Sync makes the server pull from the source. It does not call progress; `voicory sources` shows the progress.
func (c remoteAdmin) Sync(
	ctx context.Context, spec sourceSpec, _ func(done, total int64),
) (total syncSummary, err error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return total, err
	}
	return total, c.call(ctx, http.MethodPost, "/sync", bytes.NewReader(body), &total)
}

func (c remoteAdmin) Sources(ctx context.Context) (sources []sourceStatus, err error) {
	return sources, c.call(ctx, http.MethodGet, "/sources", nil, &sources)
}

// Quarantine yields the refused rows while the server sends them.
func (c remoteAdmin) Quarantine(ctx context.Context, limit int64) iter.Seq2[warehouse.Refusal, error] {
	return func(yield func(warehouse.Refusal, error) bool) {
		response, err := c.send(ctx, http.MethodGet, "/quarantine?limit="+strconv.FormatInt(limit, 10), nil)
		if err != nil {
			yield(warehouse.Refusal{}, err)
			return
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			yield(warehouse.Refusal{}, readReply(response.Body, nil))
			return
		}
		for lines := json.NewDecoder(response.Body); ; {
			var refusal warehouse.Refusal
			err := lines.Decode(&refusal)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("read the quarantine from the running server: %w", err)
			}
			if !yield(refusal, err) || err != nil {
				return
			}
		}
	}
}

func (c remoteAdmin) Replay(ctx context.Context, files []string) (total replaySummary, err error) {
	return total, c.call(ctx, http.MethodPost, "/quarantine/replay?"+url.Values{"file": files}.Encode(), nil, &total)
}

func (c remoteAdmin) RemoveQuarantined(ctx context.Context, files []string) error {
	return c.call(ctx, http.MethodDelete, "/quarantine?"+url.Values{"file": files}.Encode(), nil, &struct{}{})
}

func (c remoteAdmin) Publish(ctx context.Context) (published publication, err error) {
	return published, c.call(ctx, http.MethodPost, "/publish", nil, &published)
}

func (c remoteAdmin) CreateKey(
	ctx context.Context, tenant uuid.UUID, typ control.KeyType, settings control.KeySettings,
) (key createdKey, err error) {
	body, err := json.Marshal(control.Key{Tenant: tenant, Type: typ, KeySettings: settings})
	if err != nil {
		return key, err
	}
	return key, c.call(ctx, http.MethodPost, "/keys", bytes.NewReader(body), &key)
}

func (c remoteAdmin) UpdateKey(
	ctx context.Context, id uuid.UUID, settings control.KeySettings,
) (key control.Key, err error) {
	body, err := json.Marshal(settings)
	if err != nil {
		return key, err
	}
	return key, c.call(ctx, http.MethodPut, "/keys/"+id.String(), bytes.NewReader(body), &key)
}

// requestLogQuery selects entries of the request log.
type requestLogQuery struct {
	Since  time.Time     `json:"since"`
	Tenant uuid.NullUUID `json:"tenant_id"`
	Limit  int64         `json:"limit"`
}

func (c remoteAdmin) Requests(
	ctx context.Context, since time.Time, tenant uuid.NullUUID, limit int64,
) (requests []control.Request, err error) {
	query, err := json.Marshal(requestLogQuery{since, tenant, limit})
	if err != nil {
		return nil, err
	}
	path := "/requests?" + url.Values{"query": {string(query)}}.Encode()
	return requests, c.call(ctx, http.MethodGet, path, nil, &requests)
}

func (c remoteAdmin) Keys(ctx context.Context) (keys []control.Key, err error) {
	return keys, c.call(ctx, http.MethodGet, "/keys", nil, &keys)
}

func (c remoteAdmin) RevokeKey(ctx context.Context, id uuid.UUID) (key control.Key, err error) {
	return key, c.call(ctx, http.MethodDelete, "/keys/"+id.String(), nil, &key)
}

func (c remoteAdmin) Tenants(ctx context.Context) (tenants []tenantStatus, err error) {
	return tenants, c.call(ctx, http.MethodGet, "/tenants", nil, &tenants)
}

func (c remoteAdmin) Query(
	ctx context.Context, request query.Request, out io.Writer,
) (outcome query.Outcome, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return outcome, err
	}
	response, err := c.send(ctx, http.MethodPost, "/query", bytes.NewReader(body))
	if err != nil {
		return outcome, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return outcome, readReply(response.Body, nil)
	}
	if _, err := io.Copy(out, response.Body); err != nil {
		return outcome, fmt.Errorf("the query failed; its result is incomplete: %w", err)
	}
	return query.Outcome{Truncated: response.Trailer.Get(queryTruncated)}, nil
}

func (c remoteAdmin) Close() error {
	c.client.CloseIdleConnections()
	return nil
}
