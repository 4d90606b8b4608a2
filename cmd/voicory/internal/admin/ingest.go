package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// ingestName is the name of the operation of Ingest, whose request is the content of files.
const ingestName = "ingest"

func init() {
	register(ingestName, func(l *Local, w http.ResponseWriter, r *http.Request) error {
		return replyEvents(w, func(func(Progress)) (any, error) {
			files, err := receiveFiles(r)
			if err != nil {
				return nil, err
			}
			return ingest.LoadFiles(r.Context(), l.Warehouse, files, "")
		})
	})
}

// Ingest loads a group of files, as ingest.Groups returns them. It sends them to a server as the parts of a multipart
// body. It sends the error of a file that cannot be opened.
func Ingest(ctx context.Context, c *Conn, files []ingest.Input) (summary ingest.Summary, err error) {
	if c.local != nil {
		return ingest.LoadFiles(ctx, c.local.Warehouse, files, "")
	}
	query := url.Values{"dataset": {files[0].Dataset}, "tenant": {files[0].Tenant.String()}}
	body, out := io.Pipe()
	defer func() { _ = body.Close() }() // always nil
	parts := multipart.NewWriter(out)
	request, err := newRequest(ctx, ingestName+"?"+query.Encode(), body)
	if err != nil {
		return summary, err
	}
	request.Header.Set("Content-Type", parts.FormDataContentType())
	go func() { // ends when body is closed, unless a read blocks for ever
		out.CloseWithError(sendFiles(parts, files))
	}()
	response, err := c.remote.do(request)
	if err != nil {
		return summary, err
	}
	defer response.Body.Close()
	return summary, readEvents(response.Body, &summary, func(Progress) {})
}

// sentFile is the header of a file that is sent to the server.
type sentFile struct {
	Name           string `json:"name"`
	Path           string `json:"path"`
	FromQuarantine bool   `json:"from_quarantine"`
	Error          string `json:"error"` // of opening the file; "": its content follows
	Last           bool   `json:"last"`
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
	header, body := sentFile{Name: in.Name, Path: in.Path, FromQuarantine: in.FromQuarantine, Last: last}, in.Body
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

// receiveFiles returns the files that sendFiles has written. It reads the files of a group into memory, because they
// are small, but not a file that is sent alone.
func receiveFiles(r *http.Request) (files []ingest.Input, err error) {
	query := r.URL.Query()
	tenant, err := uuid.Parse(query.Get("tenant"))
	if err != nil {
		return nil, fmt.Errorf("%w: receive the files: %w", warehouse.ErrInvalid, err)
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, fmt.Errorf("%w: receive the files: %w", warehouse.ErrInvalid, err)
	}
	for {
		header, content, err := receiveFile(parts)
		if err != nil {
			return nil, fmt.Errorf("%w: receive the files: %w", warehouse.ErrInvalid, err)
		}
		in := ingest.Input{Name: header.Name, Path: header.Path, FromQuarantine: header.FromQuarantine,
			Dataset: query.Get("dataset"), Tenant: tenant}
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
