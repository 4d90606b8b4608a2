package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/httpapi"
)

// shareProfile runs share profile and returns the profile that it prints.
func shareProfile(t *testing.T, data string, flags ...string) (profile httpapi.SharingProfile) {
	t.Helper()
	out := mustRun(t, "", append([]string{"share", "profile", "--data", data, "--tenant", someTenant}, flags...)...).stdout
	noError(t, json.Unmarshal([]byte(out), &profile))
	return profile
}

func TestShareProfile_ConnectsToTheRunningServer(t *testing.T) {
	data := t.TempDir()
	if got := shareProfile(t, data).Endpoint; got != "http://localhost:8080/sharing/v1" {
		t.Errorf("got endpoint %q without a server", got)
	}
	url, _ := serve(t, data)
	profile := shareProfile(t, data)
	if status, body := get(t, profile.Endpoint+"/shares", profile.Token); status != 200 ||
		profile.Endpoint != url+"/sharing/v1" ||
		!strings.HasPrefix(profile.Token, "sk_") || profile.Expires != "" || profile.Version != 1 {
		t.Fatalf("got profile %+v, and %d %s with it", profile, status, body)
	}
	if status, body := get(t, url+"/api/v1/sharing/profile", profile.Token); status != 200 ||
		!strings.Contains(body, profile.Token) {
		t.Errorf("got %d %s for the profile of the key", status, body)
	}
	path := filepath.Join(t.TempDir(), "reports.share")
	if out := mustRun(t, "", "share", "profile", "--data", data, "--tenant", someTenant, "--label", "reports", "--expires",
		"2100-01-31",
		"--url", "https://data.example.com/", "-o", path).stdout; out != "" {
		t.Errorf("got output %q beside the file", out)
	}
	content, err := os.ReadFile(path)
	noError(t, err)
	noError(t, json.Unmarshal(content, &profile))
	if profile.Endpoint != "https://data.example.com/sharing/v1" || profile.Expires != "2100-01-31T00:00:00.000Z" {
		t.Errorf("got profile %+v", profile)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %s, %v", info.Mode(), err)
	}
	var keys []struct{ ID, Label string }
	noError(t, json.Unmarshal([]byte(mustRun(t, "", "keys", "list", "--data", data, "--json").stdout), &keys))
	for _, key := range keys {
		if key.Label == "reports" {
			mustRun(t, "", "keys", "revoke", "--data", data, key.ID)
		}
	}
	if status, body := get(t, url+"/sharing/v1/shares", profile.Token); status != 401 {
		t.Errorf("got %d %s after keys revoke", status, body)
	}
}

func TestShareProfile_FailureLeavesNoValidKey(t *testing.T) {
	data := t.TempDir()
	wantStatus(t, run(t, "", "share", "profile", "--data", data, "--tenant", someTenant, "-o",
		filepath.Join(data, "none", "x.share")), exitFailed)
	var keys []struct {
		RevokedAt *string `json:"revoked_at"`
	}
	noError(t, json.Unmarshal([]byte(mustRun(t, "", "keys", "list", "--data", data, "--json").stdout), &keys))
	if len(keys) != 1 || keys[0].RevokedAt == nil {
		t.Errorf("got keys %+v, want one that is revoked", keys)
	}
	for _, address := range []string{"example.com", "ftp://example.com", "https://", "https://a:b@example.com",
		"https://example.com?x"} {
		wantStatus(t, run(t, "", "share", "profile", "--data", data, "--tenant", someTenant, "--url", address), exitUsage)
	}
}
