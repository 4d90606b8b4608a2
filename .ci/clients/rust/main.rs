//! Uses the Rust client of openapi-generator.
use std::env::var;
use voicory::apis::configuration::{ApiKey, Configuration};
use voicory::apis::{calls_api, exports_api, sql_api};
use voicory::models::{CallList, Query};

async fn page(c: &Configuration, cursor: Option<&str>, since: Option<i64>) -> CallList {
    calls_api::list_calls(c, None, Some(100), cursor, since, None, None, None, None, None, None, None, None)
        .await
        .expect("list calls")
}

async fn count(c: &Configuration, since: Option<i64>) -> (usize, String) {
    let mut list = page(c, None, since).await;
    let first = list.data[0].id.to_string();
    let mut rows = list.data.len();
    while list.meta.has_more {
        let cursor = list.meta.next_cursor.clone();
        list = page(c, cursor.as_deref(), None).await;
        rows += list.data.len();
    }
    (rows, first)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut c = Configuration::new();
    c.base_path = var("VOICORY_URL").unwrap();
    c.api_key = Some(ApiKey { prefix: None, key: var("VOICORY_KEY").unwrap() });
    let (calls, first) = count(&c, None).await;
    let (changes, _) = count(&c, Some(0)).await;
    let detail = calls_api::get_call(&c, &first, None, None).await.expect("get a call");
    assert_eq!(detail.data.id.to_string(), first);
    let exports = exports_api::list_exports(&c, None).await.expect("list exports").data.len();
    let query = Query::new("SELECT 1 + 1".to_string());
    let result = sql_api::run_query(&c, query, None, None).await.expect("run a query");
    println!("calls={calls} changes={changes} exports={exports} sum={}", result.rows.unwrap()[0][0]);
}
