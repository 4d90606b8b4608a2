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

// An export crosses the socket as the body itself. What fails before it begins is an operatorReply, with its status; how many rows there
// were, the trailer says; and what breaks off later has no end.
const (
	exportAsOf = "Voicory-As-Of"
	exportRows = "Voicory-Rows"
)

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
			log.Warn("operator request failed", "path", r.URL.Path, "error", err)
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(adminReply{Error: err.Error(), Kind: errorKind(err)}) // a command that left is no error of ours
			return
		}
		w.Header().Set(exportAsOf, asOf.Format(time.RFC3339Nano))
		w.Header().Set("Trailer", exportRows)
		w.WriteHeader(http.StatusOK)
		rows, err := s.Write(r.Context(), w)
		if err = errors.Join(err, s.Close()); err != nil {
			log.Warn("export broke off", "dataset", spec.Dataset, "error", err)
			panic(http.ErrAbortHandler)
		}
		w.Header().Set(exportRows, strconv.FormatInt(rows, 10))
	}
}

// Export has the running server write.
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
		return total, fmt.Errorf("ask the running server: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return total, readReply(response.Body, nil)
	}
	if _, err := io.Copy(out, response.Body); err != nil {
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		return total, fmt.Errorf("the running server broke off: %w", err)
	}
	if total.AsOf, err = time.Parse(time.RFC3339Nano, response.Header.Get(exportAsOf)); err != nil {
		return total, err
	}
	total.Rows, err = strconv.ParseInt(response.Trailer.Get(exportRows), 10, 64)
	return total, err
}
