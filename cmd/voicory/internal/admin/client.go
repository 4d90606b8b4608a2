package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/voicory/warehouse/warehouse"
)

// client sends operations to a running server.
type client struct{ http *http.Client }

func newClient(socket string) *client {
	return &client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// newRequest returns the request of an operation. The host of its URL is not used.
func newRequest(ctx context.Context, name string, body io.Reader) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodPost, "http://voicory"+operationPath+name, body)
}

// call runs an operation and decodes its result.
func (c *client) call(ctx context.Context, name string, request, result any, report func(Progress)) error {
	response, err := c.send(ctx, name, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	err = readEvents(response.Body, result, report)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// download runs a download and returns the response, whose body the caller closes. It returns the error of a download
// that has failed before the first byte of its output.
func (c *client) download(ctx context.Context, name string, request any) (*http.Response, error) {
	response, err := c.send(ctx, name, request)
	if err != nil || response.StatusCode == http.StatusOK {
		return response, err
	}
	err = readEvents(response.Body, nil, func(Progress) {})
	return nil, errors.Join(err, response.Body.Close())
}

// send sends a request as JSON and returns the response, whose body the caller closes.
func (c *client) send(ctx context.Context, name string, request any) (*http.Response, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	message, err := newRequest(ctx, name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return c.do(message)
}

// do sends a request and returns the response, whose body the caller closes.
func (c *client) do(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	switch {
	case err != nil && request.Context().Err() != nil:
		return nil, request.Context().Err()
	case err != nil:
		return nil, fmt.Errorf("send the request to the running server: %w", err)
	case response.StatusCode == http.StatusNotFound:
		return nil, errors.Join(fmt.Errorf("%w: the running server has another version and does not know this command; "+
			"restart it", warehouse.ErrInvalid), response.Body.Close())
	}
	return response, nil
}
