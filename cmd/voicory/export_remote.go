package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// Headers of the reply to POST /export, whose body is the export itself. An error before the body is an adminReply with
// status 400. An error within the body closes the connection, so that the client sees an incomplete body.
const (
	exportAsOf = "Voicory-As-Of" // time of the snapshot
	exportRows = "Voicory-Rows"  // trailer: number of rows
)

// exportHandler returns the handler of POST /export.
func exportHandler(api localAdmin, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var spec exportSpec
		err := json.NewDecoder(r.Body).Decode(&spec)
		if err != nil {
			err = fmt.Errorf("%w: %w", warehouse.ErrInvalid, err)
		}
		var s exportWriter
		var asOf time.Time
		if err == nil {
			s, asOf, err = api.openExport(r.Context(), spec)
		}
		if err != nil {
			log.Warn("admin request failed", "path", r.URL.Path, "error", err)
			w.WriteHeader(http.StatusBadRequest)
			// An error of Encode is ignored: the client may have disconnected.
			_ = json.NewEncoder(w).Encode(adminReply{Error: err.Error(), Kind: errorKind(err)})
			return
		}
		w.Header().Set(exportAsOf, asOf.Format(time.RFC3339Nano))
		w.Header().Set("Trailer", exportRows)
		w.WriteHeader(http.StatusOK)
		rows, err := s.Write(r.Context(), w)
		if err = errors.Join(err, s.Close()); err != nil {
			log.Warn("export failed", "dataset", spec.Dataset, "error", err)
			panic(http.ErrAbortHandler)
		}
		w.Header().Set(exportRows, strconv.FormatInt(rows, 10))
	}
}

// Export requests an export from the running server and copies it to out.
func (c remoteAdmin) Export(ctx context.Context, spec exportSpec, out io.Writer) (total exportSummary, err error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return total, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://voicory/export", bytes.NewReader(body))
	if err != nil {
		return total, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		return total, fmt.Errorf("send the request to the running server: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return total, readReply(response.Body, nil)
	}
	if _, err := io.Copy(out, response.Body); err != nil {
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		return total, fmt.Errorf("read the export from the running server: %w", err)
	}
	if total.AsOf, err = time.Parse(time.RFC3339Nano, response.Header.Get(exportAsOf)); err != nil {
		return total, err
	}
	total.Rows, err = strconv.ParseInt(response.Trailer.Get(exportRows), 10, 64)
	return total, err
}
