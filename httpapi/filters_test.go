package httpapi_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The document names each filter of schema.Dataset.Filters wherever the API accepts it, and the README names those of
// the lists.
func TestFilters_AreDocumented(t *testing.T) {
	t.Parallel()
	documented := map[string][]string{} // parameters by path
	for _, op := range operations(t) {
		documented[op.path] = op.parameters
	}
	check := func(path, file string, filters []string) {
		for _, filter := range filters {
			if !slices.Contains(documented[path], filter) {
				t.Errorf("GET %s accepts the filter %s; document it in httpapi/openapi/document/%s, then run "+
					"`go generate ./httpapi/openapi`", path, filter, file)
			}
		}
	}
	readme, err := os.ReadFile("../README.md")
	noError(t, err)
	for _, dataset := range schema.Datasets {
		check("/api/v1/"+dataset.Name, dataset.Name+".yaml", dataset.Filters())
		check("/api/v1/exports/calls", "exports.yaml", dataset.Filters()) // the path {dataset}, for every dataset
		_, after, _ := strings.Cut(string(readme), "| list | filters |")
		_, row, _ := strings.Cut(after, "| "+dataset.Name+" |")
		row, _, _ = strings.Cut(row, "\n")
		for _, filter := range dataset.Filters() {
			if !strings.Contains(row, "`"+filter+"`") {
				t.Errorf("add the filter %s to the row of %s in the table of filters of README.md", filter, dataset.Name)
			}
		}
	}
	for _, report := range analytics.Reports {
		check("/api/v1/analytics/"+report.Name, "analytics.yaml", report.Source.Filters())
	}
}
