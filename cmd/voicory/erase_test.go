package main

import (
	"strings"
	"testing"
)

// The commands that remove data work on a closed folder and through the socket of a server, with the same output. Their
// refusals and effects do not depend on the place, so a server shows them.
func TestCommands_EraseAndDelete(t *testing.T) {
	t.Parallel()
	const tenant = "aaaaaaaa-0000-4000-8000-000000000001"
	const customer = `{"id":"00000000-0000-4000-8000-000000000001","phone_number":"+1 202 555 0143","created_at":"2020-03-01"}`
	for _, served := range []bool{false, true} {
		data := t.TempDir()
		do := func(status int, stdin, want string, args ...string) {
			t.Helper()
			got := wantStatus(t, run(t, stdin, append(args, "--data", data)...), status)
			if !strings.Contains(got.stdout+got.stderr, want) {
				t.Errorf("%v: got %q %q, want %q", args, got.stdout, got.stderr, want)
			}
		}
		ingest := []string{"ingest", "--tenant", tenant, "--dataset", "customers", "-"}
		erase := []string{"erase", "--tenant", tenant, "--customer", "12025550143"}
		do(exitDone, customer, "1 new", ingest...)
		if served {
			serve(t, data)
		}
		do(exitDone, "", "would erase 1 customers, 0 calls, 0 messages", append(erase, "--dry-run")...)
		do(exitDone, "", "erased 1 customers, 0 calls, 0 messages, 0 refused rows, 0 entries of the request log\n"+
			"searched all files: found nothing of the customer\n", erase...)
		if served {
			do(exitDone, customer, "0 new, 0 changed, 0 unchanged, 0 refused, 1 kept out by an erasure or the retention",
				ingest...)
			do(exitFailed, "", "has no customer", "erase", "--tenant", tenant, "--customer",
				"00000000-0000-4000-8000-000000000001")
			do(exitUsage, "", "neither an id nor a phone number", "erase", "--tenant", tenant, "--customer", "+")
		}

		other := strings.NewReplacer("0143", "0144", "000001\"", "000002\"").Replace(customer)
		do(exitDone, other, "1 new", ingest...)
		do(exitDone, "", "keeps customers=12mo", "tenants", "set", tenant, "--keep", "customers=1y")
		do(exitDone, "", "deleted 1 customers, 0 calls, 0 messages", "tenants", "prune")
		if served {
			do(exitDone, "", "keeps customers=12mo", "tenants", "list")
			do(exitDone, other, "1 kept out", ingest...)
			do(exitUsage, "no\n", "the id was not typed", "tenants", "delete", tenant)
		}
		do(exitDone, tenant+"\n", "deleted "+tenant, "tenants", "delete", tenant)
		if served {
			do(exitFailed, customer, "tenant was deleted", ingest...)
			do(exitFailed, "", "no such tenant", "tenants", "delete", tenant, "--yes")
		}
	}
}
