"""Use the Python client of openapi-generator."""
import os

import openapi_client as voicory

configuration = voicory.Configuration(host=os.environ["VOICORY_URL"])
configuration.api_key["apiKey"] = os.environ["VOICORY_KEY"]
with voicory.ApiClient(configuration) as client:
    calls = voicory.CallsApi(client)

    def count(**parameters):
        rows, page = 0, calls.list_calls(limit=100, **parameters)
        while True:
            rows += len(page.data)
            if not page.meta.has_more:
                return rows, page.data[0]
            page = calls.list_calls(limit=100, cursor=page.meta.next_cursor)

    by_cursor, call = count()
    detail = calls.get_call(call.id).data
    assert detail.id == call.id and detail.created_at == call.created_at
    changes, _ = count(since=0)
    exports = voicory.ExportsApi(client).list_exports().data
    result = voicory.SQLApi(client).run_query(voicory.Query(sql="SELECT 1 + 1"))
    print(f"calls={by_cursor} changes={changes} exports={len(exports)} sum={result.rows[0][0]}")
