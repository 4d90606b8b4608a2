package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// registerExports registers the endpoints for bulk readers: the list of exports, the database of all exports, and
// for each export its stream, its list of files, and its files.
func (a *api) registerExports(router *mux.Router) {
	a.get(router, exportsPath, a.requireSecretKey(Requests, a.listExports))
	a.get(router, exportsPath+"/"+exports.DatabaseFile,
		a.authorize(requirements{secret: true, work: Files, limit: a.limitFileRequest}, a.database))
	a.get(router, exportsPath+"/{dataset}", a.requireSecretKey(Streams, a.stream))
	a.get(router, exportsPath+"/{dataset}/files", a.requireSecretKey(Requests, a.listFiles))
	needs := requirements{secret: true, work: Files, authenticate: a.authenticateFile, limit: a.limitFileRequest}
	a.get(router, exportsPath+"/{dataset}/files/{name}", a.authorize(needs, a.file))
}

const exportsPath = "/api/v1/exports"

type exportItem struct {
	Name        string           `json:"name"`
	Description string           `json:"description"`
	Columns     []columnItem     `json:"columns"`
	Rows        int64            `json:"rows"`
	Bytes       int64            `json:"bytes"`
	Months      []string         `json:"months"` // months with a file; empty if the export has one file for all
	AsOf        *timestamp       `json:"as_of"`  // of the newest file; nil: no files
	Formats     []exports.Format `json:"formats"`
}

type columnItem struct {
	Name        string  `json:"name"`
	Type        string  `json:"type"`
	Description string  `json:"description"`
	Unit        *string `json:"unit"`
	TimeZone    *string `json:"time_zone"`
	Nullable    bool    `json:"nullable"`
	Null        *string `json:"null"` // meaning of null
}

type fileItem struct {
	Month        *string    `json:"month"` // nil if the export has one file for all months
	Day          *string    `json:"day"`   // nil if the month has one file
	Name         string     `json:"name"`
	Rows         int64      `json:"rows"`
	Bytes        int64      `json:"bytes"`
	SHA256       string     `json:"sha256"`
	MinCreatedAt timestamp  `json:"min_created_at"`
	MaxCreatedAt timestamp  `json:"max_created_at"`
	AsOf         timestamp  `json:"as_of"`
	URL          string     `json:"url"`        // path on this server, with a signature if requested
	ExpiresAt    *timestamp `json:"expires_at"` // of the URL; nil: not signed
}

// listExports answers with all exports: their columns, and the totals of their published files.
func (a *api) listExports(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if _, err := parseParams(r.URL.RawQuery, nil, true); err != nil {
		return err
	}
	files, err := a.Store.PublishedFiles(r.Context(), key.Tenant)
	if err != nil {
		return err
	}
	var items []exportItem
	for _, export := range schema.Exports {
		item := exportItem{Name: export.Name, Description: export.Description,
			Months: []string{}, Formats: exports.Formats}
		for _, c := range export.Columns {
			item.Columns = append(item.Columns, columnItem{
				Name: c.Name, Type: c.Type, Description: c.Description, Unit: ptr(c.Unit, c.Unit != ""),
				TimeZone: ptr(c.TimeZone, c.TimeZone != ""), Nullable: c.Nullable(), Null: ptr(c.Null, c.Null != ""),
			})
		}
		for _, file := range files {
			if file.Export != export.Name {
				continue
			}
			item.Rows += file.Rows
			item.Bytes += file.Bytes
			if last := len(item.Months) - 1; file.Month != "" && (last < 0 || item.Months[last] != file.Month) {
				item.Months = append(item.Months, file.Month)
			}
			if item.AsOf == nil || file.AsOf.After(time.Time(*item.AsOf)) {
				asOf := timestamp(file.AsOf)
				item.AsOf = &asOf
			}
		}
		items = append(items, item)
	}
	return writeData(w, r, items)
}

// listFiles answers with the published files of an export, with signed URLs if they are requested.
func (a *api) listFiles(w http.ResponseWriter, r *http.Request, key control.Key) error {
	export, err := schema.ExportNamed(mux.Vars(r)["dataset"])
	if err != nil {
		return err
	}
	lifetime, err := signedFor(r.URL.RawQuery)
	if err != nil {
		return err
	}
	files, err := a.Store.PublishedFiles(r.Context(), key.Tenant)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f warehouse.PublishedFile) bool { return f.Export != export.Name })
	items := make([]fileItem, len(files))
	for i, f := range files {
		items[i] = fileItem{
			Month: ptr(f.Month, f.Month != ""), Day: ptr(f.Day, f.Day != ""), Name: f.Name, Rows: f.Rows,
			Bytes: f.Bytes, SHA256: f.SHA256,
			MinCreatedAt: timestamp(f.MinCreatedAt), MaxCreatedAt: timestamp(f.MaxCreatedAt), AsOf: timestamp(f.AsOf),
			URL: exportsPath + "/" + f.Export + "/files/" + f.Name,
		}
		if lifetime > 0 {
			until := a.Now().Add(lifetime).Truncate(time.Second)
			expires := timestamp(until)
			items[i].URL += "?" + a.signed(grant{key.Tenant, f.Export, f.Name, key.ID, until.Unix()}).Encode()
			items[i].ExpiresAt = &expires
		}
	}
	return writeData(w, r, items)
}

// writeData sends a list without pages.
func writeData(w http.ResponseWriter, r *http.Request, items any) error {
	body, err := json.Marshal(map[string]any{"data": items})
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return writeJSON(w, r, http.StatusOK, body)
}
