// Command client uses the client of oapi-codegen.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"client/voicory"
)

func main() {
	log.SetFlags(0)
	ctx, limit := context.Background(), 100
	withKey := func(_ context.Context, request *http.Request) error {
		request.Header.Set("x-api-key", os.Getenv("VOICORY_KEY"))
		return nil
	}
	client, err := voicory.NewClientWithResponses(os.Getenv("VOICORY_URL"), voicory.WithRequestEditorFn(withKey))
	if err != nil {
		log.Fatal(err)
	}
	count := func(parameters voicory.ListCallsParams) (rows int, first voicory.Call) {
		for {
			parameters.Limit = &limit
			page, err := client.ListCallsWithResponse(ctx, &parameters)
			if err != nil || page.JSON200 == nil {
				log.Fatal(err, page)
			}
			if rows == 0 {
				first = page.JSON200.Data[0]
			}
			rows += len(page.JSON200.Data)
			if !page.JSON200.Meta.HasMore {
				return rows, first
			}
			parameters = voicory.ListCallsParams{Cursor: page.JSON200.Meta.NextCursor}
		}
	}
	calls, first := count(voicory.ListCallsParams{})
	detail, err := client.GetCallWithResponse(ctx, first.Id, &voicory.GetCallParams{})
	if err != nil || detail.JSON200 == nil || detail.JSON200.Data.Id != first.Id {
		log.Fatal(err, detail)
	}
	since := int64(0)
	changes, _ := count(voicory.ListCallsParams{Since: &since})
	exports, err := client.ListExportsWithResponse(ctx, &voicory.ListExportsParams{})
	if err != nil || exports.JSON200 == nil {
		log.Fatal(err, exports)
	}
	result, err := client.RunQueryWithResponse(ctx, &voicory.RunQueryParams{}, voicory.Query{Sql: "SELECT 1 + 1"})
	if err != nil || result.JSON200 == nil {
		log.Fatal(err, result)
	}
	fmt.Printf("calls=%d changes=%d exports=%d sum=%v\n",
		calls, changes, len(exports.JSON200.Data), (*result.JSON200.Rows)[0][0])
}
