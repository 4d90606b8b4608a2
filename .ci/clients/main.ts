// Use the TypeScript client of openapi-generator (typescript-fetch).
import { CallsApi, Configuration, ExportsApi, ListCallsRequest, SQLApi } from "./index";

async function main() {
  const configuration = new Configuration({ basePath: process.env.VOICORY_URL, apiKey: process.env.VOICORY_KEY });
  const calls = new CallsApi(configuration);
  async function count(parameters: ListCallsRequest) {
    let page = await calls.listCalls({ ...parameters, limit: 100 });
    const first = page.data[0];
    let rows = page.data.length;
    while (page.meta.hasMore) {
      page = await calls.listCalls({ cursor: page.meta.nextCursor ?? undefined, limit: 100 });
      rows += page.data.length;
    }
    return { rows, first };
  }
  const byCursor = await count({});
  const detail = (await calls.getCall({ id: byCursor.first.id })).data;
  if (detail.id !== byCursor.first.id) throw new Error("another call");
  const changes = await count({ since: 0 });
  const exported = (await new ExportsApi(configuration).listExports()).data;
  const result = await new SQLApi(configuration).runQuery({ query: { sql: "SELECT 1 + 1" } });
  console.log(`calls=${byCursor.rows} changes=${changes.rows} exports=${exported.length} sum=${result.rows?.[0][0]}`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
