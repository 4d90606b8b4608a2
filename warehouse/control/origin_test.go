package control_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

func TestCreateKey_OriginsAreThoseThatBrowsersSend(t *testing.T) {
	w := openNew(t)
	for text, want := range map[string]string{
		"https://app.example.com": "https://app.example.com", "http://localhost:3000": "http://localhost:3000",
		"http://localhost":            "http://localhost",
		"HTTPS://App.Example.COM":     "https://app.example.com",
		"https://app.example.com:443": "https://app.example.com", "http://a.b:80": "http://a.b",
		"https://a.b:80": "https://a.b:80", "http://127.0.0.1:65535": "http://127.0.0.1:65535",
		"https://[2001:DB8:0::1]": "https://[2001:db8::1]",
		"http://[::1]:1":          "http://[::1]:1", "https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
		"*": "*",
	} {
		key, _, err := w.CreateKey(t.Context(), tenantA, control.Public, control.KeySettings{Origins: []string{text}})
		if err != nil || len(key.Origins) != 1 || key.Origins[0] != want {
			t.Errorf("%q: got %v, %v, want %s", text, key.Origins, err, want)
		}
	}
	for _, text := range []string{
		"", "null", "app.example.com", "https://", "https://:80", "//a.b", "://a.b", "ftp://a.b", "file:///etc",
		"javascript://a.b", "chrome-extension://abc", "https:a.b",
		"https://a.b/", "https://a.b/path", "https://a.b?q", "https://a.b#f", "https://user@a.b",
		"https://user:pass@a.b", "https://@a.b", "https://*.example.com", "https://*",
		"https://a.b:", "https://a.b:0", "https://a.b:65536", "https://a.b:99999", "https://a.b:-1",
		"https://a.b:+1", "https://a.b:080", "https://a.b:8o", "https://a.b:1:2",
		"https://a..b", "https://.a.b", "https://a.b.", "https://-a.b", "https://a-.b", "https://a_b.c",
		"https://bücher.example", "https://a b", "https://a.b ", " https://a.b",
		"https://a.b\r\nX: y", "https://a.b\x00", "https://a.b,https://c.d", "https://a.b https://c.d",
		"https://256.1.1.1", "https://1.2.3", "https://[::1", "https://::1", "https://[1.2.3.4]",
		"https://[fe80::1%25eth0]", "https://[fe80::1%eth0]", "https://[::1]x", "https://[::1]:", "https://%61.b",
		"https://a.b\\c", "https://" + strings.Repeat("a", 64) + ".b",
		"https://" + strings.Repeat("a.", 127) + "b",
	} {
		_, _, err := w.CreateKey(t.Context(), tenantA, control.Public, control.KeySettings{Origins: []string{text}})
		if !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("%q: got %v, want %v", text, err, warehouse.ErrInvalid)
		}
	}
}
