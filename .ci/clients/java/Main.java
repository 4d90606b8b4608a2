import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.CallsApi;
import org.openapitools.client.api.ExportsApi;
import org.openapitools.client.api.SqlApi;
import org.openapitools.client.model.Call;
import org.openapitools.client.model.CallList;
import org.openapitools.client.model.Query;

/** Uses the Java client of openapi-generator (library native). */
public class Main {
  private static CallsApi calls;
  private static Call first;

  private static int count(Long since) throws ApiException {
    CallList page = calls.listCalls(null, 100, null, since, null, null, null, null, null, null, null, null);
    first = page.getData().get(0);
    int rows = page.getData().size();
    while (page.getMeta().getHasMore()) {
      String cursor = page.getMeta().getNextCursor();
      page = calls.listCalls(null, 100, cursor, null, null, null, null, null, null, null, null, null);
      rows += page.getData().size();
    }
    return rows;
  }

  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv("VOICORY_URL"));
    client.setRequestInterceptor(request -> request.header("x-api-key", System.getenv("VOICORY_KEY")));
    calls = new CallsApi(client);
    int changes = count(0L);
    int rows = count(null);
    if (!calls.getCall(first.getId(), null, null).getData().getId().equals(first.getId())) {
      throw new IllegalStateException("another call");
    }
    int exports = new ExportsApi(client).listExports(null).getData().size();
    Object sum = new SqlApi(client).runQuery(new Query().sql("SELECT 1 + 1"), null, null).getRows().get(0).get(0);
    System.out.printf("calls=%d changes=%d exports=%d sum=%s%n", rows, changes, exports, sum);
  }
}
