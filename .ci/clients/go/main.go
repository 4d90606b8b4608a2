// Command client uses the Go client of openapi-generator.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"client/voicory"
)

func main() {
	log.SetFlags(0)
	configuration := voicory.NewConfiguration()
	configuration.Servers = voicory.ServerConfigurations{{URL: os.Getenv("VOICORY_URL")}}
	client := voicory.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), voicory.ContextAPIKeys,
		map[string]voicory.APIKey{"apiKey": {Key: os.Getenv("VOICORY_KEY")}})

	count := func(request voicory.ApiListCallsRequest) (rows int, first voicory.Call) {
		for {
			page, _, err := request.Limit(100).Execute()
			if err != nil {
				log.Fatal(err)
			}
			if rows == 0 {
				first = page.Data[0]
			}
			rows += len(page.Data)
			if !page.Meta.HasMore {
				return rows, first
			}
			request = client.CallsAPI.ListCalls(ctx).Cursor(page.Meta.GetNextCursor())
		}
	}
	calls, first := count(client.CallsAPI.ListCalls(ctx))
	detail, _, err := client.CallsAPI.GetCall(ctx, first.Id).Execute()
	if err != nil || detail.Data.Id != first.Id {
		log.Fatal(err, detail)
	}
	changes, _ := count(client.CallsAPI.ListCalls(ctx).Since(0))
	exports, _, err := client.ExportsAPI.ListExports(ctx).Execute()
	if err != nil {
		log.Fatal(err)
	}
	result, _, err := client.SQLAPI.RunQuery(ctx).Query(*voicory.NewQuery("SELECT 1 + 1")).Execute()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("calls=%d changes=%d exports=%d sum=%v\n", calls, changes, len(exports.Data), result.Rows[0][0])
}
