package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/exports/sharing"
	"github.com/voicory/warehouse/httpapi/internal/sigv4"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The sharing server implements the open protocol of Delta Sharing, for secret keys as bearer tokens. A key has one
// share. The only schema of the share is the id of the key's tenant, like the namespace of the catalog, and has a table
// for each export. The URLs of files are presigned URLs of the objects, with a credential as the catalog vends it.
const (
	sharingPath      = "/sharing/v1"
	shareName        = "voicory"
	sharesPath       = sharingPath + "/shares"
	sharePath        = sharesPath + "/{share}"
	schemasPath      = sharePath + "/schemas"
	sharedTablesPath = schemasPath + "/{schema}/tables"
	sharedTablePath  = sharedTablesPath + "/{table}"
	profilePath      = "/api/v1/sharing/profile"
)

func (a *api) registerSharing(router *mux.Router) {
	authorize := func(h authHandler) handler {
		return a.authorize(requirements{secret: true, work: Requests, authenticate: a.authenticateCatalog,
			limit: a.limitCatalogRequest}, h)
	}
	a.get(router, sharesPath, authorize(a.listShares))
	a.get(router, sharePath, authorize(inShare(a.share)))
	a.get(router, schemasPath, authorize(inShare(a.listSchemas)))
	a.get(router, sharedTablesPath, authorize(inShare(a.listSharedTables)))
	a.get(router, sharePath+"/all-tables", authorize(inShare(a.listSharedTables)))
	a.route(router, sharedTablePath, authorize(inShare(a.sharedVersion)), http.MethodHead)
	a.get(router, sharedTablePath+"/version", authorize(inShare(a.sharedVersion)))
	a.get(router, sharedTablePath+"/metadata", authorize(inShare(a.sharedMetadata)))
	a.post(router, sharedTablePath+"/query", authorize(inShare(a.querySharedTable)))
	a.get(router, sharedTablePath+"/changes", authorize(inShare(a.sharedChanges)))
	router.PathPrefix(sharingPath + "/").Handler(a.handle("", func(_ http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return &web.Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Message: "No resource has this path"}
		}
		return &web.Problem{Status: http.StatusMethodNotAllowed, Code: "METHOD_NOT_ALLOWED",
			Message: "The shares are read-only"}
	}))
	a.get(router, profilePath, a.requireSecretKey(Requests, a.sharingProfile))
}

// inShare returns a handler that answers 404 if the path names a share, a schema or a table that the key does not have.
// The case of names is ignored.
func inShare(h authHandler) authHandler {
	missing := func(kind string) error {
		return &web.Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Message: "The " + kind + " does not exist"}
	}
	return func(w http.ResponseWriter, r *http.Request, key control.Key) error {
		path := mux.Vars(r)
		if !strings.EqualFold(path["share"], shareName) {
			return missing("share")
		}
		if name, named := path["schema"]; named && !strings.EqualFold(name, key.Tenant.String()) {
			return missing("schema")
		}
		if name, named := path["table"]; named {
			if _, err := schema.ExportNamed(strings.ToLower(name)); err != nil {
				return missing("table")
			}
		}
		return h(w, r, key)
	}
}

// A shared item is a share, a schema or a table in a list.
type sharedItem struct {
	Name    string `json:"name"`
	Schema  string `json:"schema,omitempty"`
	Share   string `json:"share,omitempty"`
	ShareID string `json:"shareId,omitempty"`
	ID      string `json:"id,omitempty"`
}

// shareOf returns the share of a key. Its id is unique among those of all tenants.
func shareOf(key control.Key) sharedItem {
	return sharedItem{Name: shareName, ID: uuid.NewSHA1(key.Tenant, []byte("sharing")).String()}
}

func (a *api) listShares(w http.ResponseWriter, r *http.Request, key control.Key) error {
	return writeSharedItems(w, r, []sharedItem{shareOf(key)})
}

func (a *api) share(w http.ResponseWriter, r *http.Request, key control.Key) error {
	return writeShared(w, r, map[string]sharedItem{"share": shareOf(key)})
}

func (a *api) listSchemas(w http.ResponseWriter, r *http.Request, key control.Key) error {
	return writeSharedItems(w, r, []sharedItem{{Name: key.Tenant.String(), Share: shareName}})
}

// listSharedTables answers with the tables of the schema, which are all tables of the share.
func (a *api) listSharedTables(w http.ResponseWriter, r *http.Request, key control.Key) error {
	var items []sharedItem
	for _, export := range schema.Exports {
		items = append(items, sharedItem{Name: export.Name, Schema: key.Tenant.String(), Share: shareName,
			ShareID: shareOf(key).ID, ID: iceberg.TableID(key.Tenant, export).String()})
	}
	return writeSharedItems(w, r, items)
}

// maxResults is the maximum and the default number of items of a list.
const maxResults = 500

// writeSharedItems sends a page of a list. The token of a page is the number of items before it.
func writeSharedItems(w http.ResponseWriter, r *http.Request, items []sharedItem) error {
	query := r.URL.Query()
	limit, begin := maxResults, 0
	if text := query.Get("maxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxResults {
			return invalidParameter("maxResults is not a number from 0 to %d", maxResults)
		}
		limit = n
	}
	if text := query.Get("pageToken"); text != "" {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		n, malformed := strconv.Atoi(string(raw))
		if err != nil || malformed != nil || n < 0 || n > len(items) {
			return invalidParameter("pageToken is not one that a list has returned")
		}
		begin = n
	}
	end := min(begin+limit, len(items))
	page := struct {
		Items []sharedItem `json:"items"`
		Next  string       `json:"nextPageToken,omitempty"`
	}{Items: items[begin:end]}
	if end < len(items) {
		page.Next = base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(end)))
	}
	return writeShared(w, r, page)
}

func writeShared(w http.ResponseWriter, r *http.Request, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return writeBody(w, r, http.StatusOK, web.JSON, body)
}

// sharedRequest is a request for a snapshot of a table.
type sharedRequest struct {
	sharing.Response
	fileIDs string // value of the header fileidhash; "": none
}

// loadShared returns the requested table at a version or at a time. If both are empty, it returns the current table.
func (a *api) loadShared(r *http.Request, key control.Key, version, timestamp string) (s sharedRequest, err error) {
	if s.Format, err = responseFormat(r.Header.Get("Delta-Sharing-Capabilities")); err != nil {
		return s, err
	}
	s.fileIDs = strings.ToLower(strings.TrimSpace(r.Header.Get("Fileidhash")))
	if !slices.Contains([]string{"", "parquet", "delta"}, s.fileIDs) {
		return s, invalidParameter("fileidhash is neither parquet nor delta")
	}
	export, err := schema.ExportNamed(strings.ToLower(mux.Vars(r)["table"]))
	if err != nil {
		return s, err
	}
	s.Table, err = a.tables.Load(r.Context(), key.Tenant, export, tableLocation(tenantSpace{a, key}, export))
	if err != nil {
		return s, err
	}
	snapshots := s.Table.Snapshots()
	s.Snapshot, s.Pinned = snapshots[len(snapshots)-1], version != "" || timestamp != ""
	switch {
	case version != "" && timestamp != "":
		return s, invalidParameter("Only one of version and timestamp can be given")
	case version != "":
		id, err := strconv.ParseInt(version, 10, 64)
		i := slices.IndexFunc(snapshots, func(s iceberg.Snapshot) bool { return s.ID == id })
		if err != nil || i < 0 {
			return s, versionProblem(snapshots)
		}
		s.Snapshot = snapshots[i]
	case timestamp != "":
		at, err := sharedTime("timestamp", timestamp)
		if err != nil {
			return s, err
		}
		later := slices.IndexFunc(snapshots, func(s iceberg.Snapshot) bool { return s.At.After(at) })
		if later == 0 {
			return s, versionProblem(snapshots)
		}
		if later > 0 {
			s.Snapshot = snapshots[later-1]
		}
	}
	return s, nil
}

// versionProblem returns the problem of a version that cannot be read.
func versionProblem(snapshots []iceberg.Snapshot) error {
	first, last := snapshots[0], snapshots[len(snapshots)-1]
	return invalidParameter("The table does not have this version, or no longer. %d versions can be read: "+
		"from %d (%s) to %d (%s)", len(snapshots), first.ID, first.At.Format(time.RFC3339Nano),
		last.ID, last.At.Format(time.RFC3339Nano))
}

// sharedTime returns the time in a parameter.
func sharedTime(name, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		err = invalidParameter("%s is not a time such as 2026-01-31T12:00:00Z", name)
	}
	return at, err
}

// responseFormat returns the format of the response to a client with the capabilities. Parquet is preferred if the
// client knows both formats.
func responseFormat(capabilities string) (sharing.Format, error) {
	formats := ""
	for capability := range strings.SplitSeq(strings.ToLower(capabilities), ";") {
		if name, values, _ := strings.Cut(capability, "="); strings.TrimSpace(name) == "responseformat" {
			formats = values
		}
	}
	if formats == "" {
		return sharing.Parquet, nil
	}
	known := strings.Split(strings.ReplaceAll(formats, " ", ""), ",")
	for _, format := range []sharing.Format{sharing.Parquet, sharing.Delta} {
		if slices.Contains(known, string(format)) {
			return format, nil
		}
	}
	return "", invalidParameter("responseformat is neither parquet nor delta")
}

// write sends the lines of a response.
func (s sharedRequest) write(w http.ResponseWriter, r *http.Request, lines []byte) error {
	h := w.Header()
	setTableVersion(h, s.Snapshot)
	if r.Header.Get("Delta-Sharing-Capabilities") != "" {
		h.Set("Delta-Sharing-Capabilities", "responseformat="+string(s.Format))
	}
	if s.fileIDs != "" {
		h.Set("Fileidhash", s.fileIDs)
	}
	return writeBody(w, r, http.StatusOK, "application/x-ndjson; charset=utf-8", lines)
}

func setTableVersion(h http.Header, s iceberg.Snapshot) {
	h.Set("Delta-Table-Version", strconv.FormatInt(s.ID, 10))
}

// sharedVersion answers with the version of a table, or with its first version at or after a time. A version that can
// no longer be read is treated as unknown.
func (a *api) sharedVersion(w http.ResponseWriter, r *http.Request, key control.Key) error {
	s, err := a.loadShared(r, key, "", "")
	if err != nil {
		return err
	}
	if text := r.URL.Query().Get("startingTimestamp"); text != "" {
		at, err := sharedTime("startingTimestamp", text)
		if err != nil {
			return err
		}
		snapshots := s.Table.Snapshots()
		i := slices.IndexFunc(snapshots, func(s iceberg.Snapshot) bool { return !s.At.Before(at) })
		if i < 0 {
			return versionProblem(snapshots)
		}
		s.Snapshot = snapshots[i]
	}
	setTableVersion(w.Header(), s.Snapshot)
	w.WriteHeader(http.StatusOK)
	return nil
}

// sharedMetadata answers with the schema of a table.
func (a *api) sharedMetadata(w http.ResponseWriter, r *http.Request, key control.Key) error {
	query := r.URL.Query()
	s, err := a.loadShared(r, key, query.Get("version"), query.Get("timestamp"))
	if err != nil {
		return err
	}
	return s.write(w, r, s.Metadata())
}

// maxSharedQuery is the maximum size in bytes of a query.
const maxSharedQuery = 1 << 20

// querySharedTable answers with the schema of a table and the URLs of its files.
func (a *api) querySharedTable(w http.ResponseWriter, r *http.Request, key control.Key) error {
	body, err := readSmallBody(w, r, maxSharedQuery)
	if err != nil {
		return err
	}
	var query struct {
		PredicateHints     []string
		JSONPredicateHints *string
		LimitHint          *int64
		Version            *int64
		Timestamp          *string
		StartingVersion    *int64
		EndingVersion      *int64
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &query); err != nil {
			return &web.Problem{Status: http.StatusBadRequest, Code: "MALFORMED_REQUEST",
				Message: "The body is not a query in JSON: " + err.Error()}
		}
	}
	if query.StartingVersion != nil || query.EndingVersion != nil {
		return noChanges
	}
	if query.LimitHint != nil && *query.LimitHint < 0 {
		return invalidParameter("limitHint is negative")
	}
	version, timestamp, hints := "", "", sharing.Hints{SQL: query.PredicateHints, Limit: query.LimitHint}
	if query.Version != nil {
		version = strconv.FormatInt(*query.Version, 10)
	}
	if query.Timestamp != nil {
		timestamp = *query.Timestamp
	}
	if query.JSONPredicateHints != nil {
		hints.JSON = *query.JSONPredicateHints
	}
	s, err := a.loadShared(r, key, version, timestamp)
	if err != nil {
		return err
	}
	files, err := s.Files(r.Context(), a.tables, hints, a.presigner(r, key, s.Table))
	if err != nil {
		return err
	}
	return s.write(w, r, append(s.Metadata(), files...))
}

// presigner returns the function that returns the presigned URL of a table's file and the time when it expires.
func (a *api) presigner(r *http.Request, key control.Key, table *iceberg.Table) func(string) (string, time.Time) {
	vended, now := tenantSpace{a, key}.vend(), a.Now().Truncate(time.Second)
	expires := time.Unix(vended.expires, 0)
	scheme, host := a.origin(r)
	base := &url.URL{Scheme: scheme, Host: host}
	path := strings.Replace(table.Location, objectsURL, objectsPath+"/", 1) + "/" + iceberg.DataFolder
	credential := sigv4.Credential{AccessKey: vended.accessKey, Secret: vended.secret(), Token: vended.token()}
	return func(name string) (string, time.Time) {
		lifetime := max(expires.Sub(now), time.Second) // a URL has a lifetime; the credential expires at its own time
		return sigv4.Presign(base, path+name, credential, region, now, lifetime), expires
	}
}

// noChanges is the answer to requests for the changes between versions.
var noChanges = &web.Problem{Status: http.StatusBadRequest, Code: "UNSUPPORTED_OPERATION",
	Message: "The tables have no change data feed; the API has one at /api/v1/changes"}

func (a *api) sharedChanges(http.ResponseWriter, *http.Request, control.Key) error { return noChanges }

// sharingProfile answers with the profile of the key, which clients connect with.
func (a *api) sharingProfile(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if _, err := parseParams(r.URL.RawQuery, nil, true); err != nil {
		return err
	}
	scheme, host := a.origin(r)
	body, err := json.Marshal(NewSharingProfile(scheme+"://"+host, r.Header.Get("X-Api-Key"), key.ExpiresAt))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", `attachment; filename="voicory.share"`)
	return writeJSON(w, r, http.StatusOK, body)
}

// A SharingProfile is the file that clients of Delta Sharing connect with.
type SharingProfile struct {
	Version  int    `json:"shareCredentialsVersion"`
	Endpoint string `json:"endpoint"`
	Token    string `json:"bearerToken"`
	Expires  string `json:"expirationTime,omitempty"`
}

// NewSharingProfile returns the profile for a secret key of the server at an address such as https://example.com. The
// profile has no expiration time if expires is nil.
func NewSharingProfile(address, key string, expires *time.Time) SharingProfile {
	p := SharingProfile{Version: 1, Endpoint: strings.TrimSuffix(address, "/") + sharingPath, Token: key}
	if expires != nil {
		p.Expires = expires.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return p
}

func invalidParameter(format string, args ...any) error {
	return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_PARAMETER_VALUE",
		Message: fmt.Sprintf(format, args...)}
}

// sharingErrors are the codes of errors in the protocol, by the status of a problem. Problems with another status keep
// their code.
var sharingErrors = map[int]string{
	http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED",
	http.StatusNotFound: "RESOURCE_DOES_NOT_EXIST", http.StatusTooManyRequests: "REQUEST_LIMIT_EXCEEDED",
	http.StatusServiceUnavailable: "TEMPORARILY_UNAVAILABLE",
}

// encodeSharingError returns the body of an error of the sharing server.
func encodeSharingError(h http.Header, p *web.Problem) (mediaType string, body []byte) {
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer") // RFC 6750
	}
	code := p.Code
	if known := sharingErrors[p.Status]; known != "" {
		code = known
	}
	body, err := json.Marshal(map[string]string{"errorCode": code, "message": p.Message})
	if err != nil {
		panic(err) // texts always encode
	}
	return "application/json", body
}
