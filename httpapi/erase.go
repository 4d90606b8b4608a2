package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// detailOrErasure returns the handler of the path of a customer: DELETE erases the customer, and other methods read it.
func detailOrErasure(read, erase handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodDelete {
			return erase(w, r)
		}
		return read(w, r)
	}
}

// erased is the result of an erasure in a response. It names no files, because their names contain ids of tenants.
type erased struct {
	Rows      map[string]int64 `json:"rows"`
	Refused   int64            `json:"refused"`
	Requests  int64            `json:"requests"`
	Remaining int              `json:"remaining"` // files that still contain a text of the customer
}

// eraseCustomer erases the customer with the id in the path. The request is logged without the id. The erasure goes on
// if the client disconnects, because an interrupted erasure would be completed only later.
func (a *api) eraseCustomer(w http.ResponseWriter, r *http.Request, key control.Key) error {
	stateOf(r).secretPath = true
	values, err := parseParams(r.URL.RawQuery, []string{"erase"}, true)
	if err != nil {
		return err
	}
	if values.Get("erase") != "true" {
		return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
			Message: "The parameter erase must be true: a customer is erased, or stays"}
	}
	if !key.AllowErase {
		return &web.Problem{Status: http.StatusForbidden, Code: "ERASE_NOT_ALLOWED",
			Message: "This key may not erase customers; the operator can allow it"}
	}
	id, err := parseUUID(mux.Vars(r)["id"])
	if err != nil {
		return errInvalidID
	}
	web.SetWriteDeadline(w, time.Time{})
	report, err := a.Store.Erase(context.WithoutCancel(r.Context()), key.Tenant, id.String(),
		warehouse.EraseOptions{OwnFiles: true})
	web.SetWriteDeadline(w, time.Now().Add(responseTimeout))
	if isArgument(err) {
		return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
			Message: "The customer has a number of the account itself; the operator can erase it by the number"}
	}
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"data": erased{report.Rows, report.Refused, report.Requests,
		len(report.Remaining)}})
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return writeJSON(w, r, http.StatusOK, body)
}
