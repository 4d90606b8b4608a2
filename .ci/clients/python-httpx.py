"""Use the client of openapi-python-client."""
import os

from voicory_api_client import AuthenticatedClient
from voicory_api_client.api.calls import get_call, list_calls
from voicory_api_client.api.exports import list_exports
from voicory_api_client.api.sql import run_query
from voicory_api_client.models import Query

client = AuthenticatedClient(
    os.environ["VOICORY_URL"], os.environ["VOICORY_KEY"], prefix="", auth_header_name="x-api-key",
    raise_on_unexpected_status=True,
)


def count(**parameters):
    rows, page = 0, list_calls.sync(client=client, limit=100, **parameters)
    while True:
        rows += len(page.data)
        if not page.meta.has_more:
            return rows, page.data[0]
        page = list_calls.sync(client=client, limit=100, cursor=page.meta.next_cursor)


by_cursor, call = count()
detail = get_call.sync(call.id, client=client).data
assert detail.id == call.id and detail.created_at == call.created_at
changes, _ = count(since=0)
exports = list_exports.sync(client=client).data
result = run_query.sync(client=client, body=Query(sql="SELECT 1 + 1"))
print(f"calls={by_cursor} changes={changes} exports={len(exports)} sum={result.rows[0][0]}")
