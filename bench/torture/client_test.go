package torture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// An answer is a response to an HTTP request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %.400s", a.status, a.body) }

// code returns the code of an error response.
func (a answer) code() string {
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal(a.body, &e)
	return e.Error.Code
}

// An answerError is a response whose status is not 200.
type answerError struct {
	request string
	answer
}

func (e *answerError) Error() string { return fmt.Sprintf("%s: got %s, want 200", e.request, e.answer) }

var httpClient = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

// A client makes requests with one key.
type client struct {
	address, key string
}

func (c client) do(ctx context.Context, method, path string, body []byte, header ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("x-api-key", c.key)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, text}, err
}

// get makes a GET request and parses its response. It returns an *answerError if the status is not 200.
func (c client) get(ctx context.Context, path string, into any) error {
	got, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if got.status != http.StatusOK {
		return &answerError{"GET " + path, got}
	}
	return json.Unmarshal(got.body, into)
}

// export returns all rows of a dataset.
func (c client) export(ctx context.Context, dataset string) ([]item, error) {
	path := "/api/v1/exports/" + dataset + "?format=ndjson"
	got, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, &answerError{"GET " + path, got}
	}
	return parseLines(got.body)
}

func parseLines(body []byte) (items []item, err error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	for {
		var i item
		if err := decoder.Decode(&i); err == io.EOF {
			return items, nil
		} else if err != nil {
			return nil, err
		}
		items = append(items, i)
	}
}

type page struct {
	Data []item
	Meta struct {
		NextCursor   *string `json:"next_cursor"`
		ResumeCursor *string `json:"resume_cursor"`
		HasMore      bool    `json:"has_more"`
	}
}

// pages returns all rows of a dataset by the pages of its list.
func (c client) pages(ctx context.Context, dataset string) (items []item, err error) {
	path := "/api/v1/" + dataset + "?limit=100&include_total=false&cursor="
	for cursor := ""; ; {
		var p page
		if err := c.get(ctx, path+url.QueryEscape(cursor), &p); err != nil {
			return nil, err
		}
		items = append(items, p.Data...)
		if p.Meta.NextCursor == nil || !p.Meta.HasMore {
			return items, nil
		}
		cursor = *p.Meta.NextCursor
	}
}

// query returns the rows of a SQL statement.
func (c client) query(ctx context.Context, sql string) (rows [][]any, err error) {
	body, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return nil, err
	}
	got, err := c.do(ctx, http.MethodPost, "/api/v1/query", body, "Content-Type", "application/json")
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, &answerError{"POST /api/v1/query", got}
	}
	var result struct{ Rows [][]any }
	return result.Rows, json.Unmarshal(got.body, &result)
}

// A publishedFile is an entry of a list of published files.
type publishedFile struct {
	Name, SHA256, URL string
	Rows, Bytes       int64
}

// files downloads all published files of an export, and compares them with their hashes. It returns their rows.
func (c client) files(ctx context.Context, export string) (rows int64, err error) {
	var list struct{ Data []publishedFile }
	if err := c.get(ctx, "/api/v1/exports/"+export+"/files", &list); err != nil {
		return 0, err
	}
	for _, file := range list.Data {
		got, err := c.do(ctx, http.MethodGet, file.URL, nil)
		if err != nil {
			return rows, err
		}
		if got.status != http.StatusOK {
			return rows, &answerError{"GET " + file.URL, got}
		}
		if sum := sha256.Sum256(got.body); hex.EncodeToString(sum[:]) != file.SHA256 {
			return rows, fmt.Errorf("%w: GET %s: got other bytes than the listed SHA-256", errWrong, file.URL)
		}
		rows += file.Rows
	}
	return rows, nil
}
