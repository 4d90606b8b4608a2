package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestMan_NamesEachCommand(t *testing.T) {
	t.Parallel()
	page := mustRun(t, "", "man").stdout
	for _, command := range []string{"serve", "ingest", "sync postgres", "keys create", "export", "query", "completion"} {
		for _, name := range strings.Fields(command) {
			if !strings.Contains(page, `\fB`+name) && !strings.Contains(page, " "+name) {
				t.Errorf("the manual page does not name %q", command)
			}
		}
	}
	if title, _, _ := strings.Cut(page, "\n"); !strings.HasSuffix(title, `"Voicory Manual"`) {
		t.Errorf("got the title line %s, want a short name of the manual", title)
	}
	man, err := exec.LookPath("man")
	if err != nil {
		t.Log("man is missing: the page was not rendered")
		return
	}
	render := exec.CommandContext(t.Context(), man, "-l", "-")
	render.Stdin = strings.NewReader(page)
	render.Env = append(render.Environ(), "MANROFFOPT=-ww", "LC_ALL=C.UTF-8")
	if text, err := render.CombinedOutput(); err != nil || !strings.Contains(string(text), "voicory") {
		t.Errorf("man: %v\n%s", err, text)
	}
}

func TestCompletion_ForEachShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code := mustRun(t, "", "completion", "--code", shell).stdout; !strings.Contains(code, "complete") {
			t.Errorf("%s: the code does not call complete:\n%s", shell, code)
		}
	}
	for line, want := range map[string]string{
		"voicory exp":                  "export",
		"voicory keys re":              "revoke",
		"voicory export calls --forma": "--format",
	} {
		t.Run(line, func(t *testing.T) {
			t.Setenv("COMP_LINE", line)
			if got := strings.TrimSpace(mustRun(t, "").stdout); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
