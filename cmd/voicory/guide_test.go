package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// All blocks of the guide for data scientists run within the rate limits of a key. Each way to read the data that it
// shows finds the daily costs of the generated calls, and its plot shows them.
func TestGuide_DataScientists(t *testing.T) {
	t.Parallel()
	python := installClient(t, "requirements.txt", installPython)
	document, err := os.ReadFile("../../docs/data-scientists.md")
	noError(t, err)
	driver, err := filepath.Abs(filepath.Join("testdata", "clients", "notebook.py"))
	noError(t, err)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	installProgram(t, dir)
	copyDemo(t, data)
	url, _ := serve(t, data)

	blocks, err := json.Marshal(blocksOf(string(document), url))
	noError(t, err)
	command := exec.CommandContext(t.Context(), filepath.Join(python, "venv", "bin", "python"), driver)
	command.Dir, command.Stdin = dir, bytes.NewReader(blocks)
	command.Env = append(os.Environ(), "HOME="+python, "PATH="+filepath.Join(python, "venv", "bin")+":"+os.Getenv("PATH"))
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)

	var daily map[string]map[string]string
	text, err := os.ReadFile(filepath.Join(dir, "daily.json"))
	noError(t, err)
	noError(t, json.Unmarshal(text, &daily))
	want := demoCosts(t, "2026-03-01", "2026-05-31")
	for way, costs := range daily {
		if !maps.Equal(costs, want) {
			t.Errorf("%s: got costs %v, want %v", way, costs, want)
		}
	}
	ways := []string{"DuckDB, database", "DuckDB, files", "SQL", "analytics", "curl, CSV", "pandas", "polars"}
	if got := slices.Sorted(maps.Keys(daily)); !slices.Equal(got, ways) {
		t.Errorf("got results by %q, want %q", got, ways)
	}

	plot := decodePNG(t, filepath.Join(dir, "cost-per-day.png"))
	if shown := decodePNG(t, "../../docs/cost-per-day.png").Bounds(); plot.Bounds() != image.Rect(0, 0, 1000, 500) ||
		shown != plot.Bounds() {
		t.Errorf("got a plot of %v and one of %v in docs, want 1000x500", plot.Bounds(), shown)
	}
	pixels := map[color.RGBA]int{}
	for y := range plot.Bounds().Dy() {
		for x := range plot.Bounds().Dx() {
			pixels[color.RGBAModel.Convert(plot.At(x, y)).(color.RGBA)]++
		}
	}
	days, mean, pending := pixels[color.RGBA{0x9e, 0xca, 0xe1, 255}], pixels[color.RGBA{0x08, 0x51, 0x9c, 255}],
		pixels[color.RGBA{0xfd, 0x8d, 0x3c, 255}]
	if days < 50_000 || days > 300_000 || mean < 500 || pending < 500 {
		t.Errorf("got %d pixels of days, %d of their mean and %d of pending calls", days, mean, pending)
	}
}

type documentBlock struct {
	Kind string `json:"kind"`
	Line int    `json:"line"` // number of its first line in the document, from 1
	Text string `json:"text"`
}

// blocksOf returns the executable blocks of a document, with url as the address of the server.
func blocksOf(document, url string) (blocks []documentBlock) {
	for _, at := range fence.FindAllStringSubmatchIndex(document, -1) {
		kind, text := document[at[2]:at[3]], document[at[4]:at[5]]
		if kind == "sh" || kind == "python" {
			blocks = append(blocks, documentBlock{kind, strings.Count(document[:at[4]], "\n") + 1,
				strings.ReplaceAll(text, "http://localhost:8080", url)})
		}
	}
	return blocks
}

// demoCosts returns the costs of the calls of the demo tenant in US dollars with four decimals, for each day in Kolkata
// from first to last. Days without costs are missing.
func demoCosts(t *testing.T, first, last string) map[string]string {
	t.Helper()
	zone := time.FixedZone("IST", 5*60*60+30*60)
	var lines bytes.Buffer
	noError(t, demoTenant.WriteCalls(&lines))
	sums := map[string]int{}
	for decoder := json.NewDecoder(&lines); decoder.More(); {
		var call struct {
			Cost json.Number `json:"cost"`
			At   time.Time   `json:"created_at"`
		}
		noError(t, decoder.Decode(&call))
		day := call.At.In(zone).Format(time.DateOnly)
		// null and 0 have no decimal point
		if dollars, cents, ok := strings.Cut(call.Cost.String(), "."); ok && first <= day && day <= last {
			n, err := strconv.Atoi(dollars + cents)
			noError(t, err)
			sums[day] += n
		}
	}
	costs := map[string]string{}
	for day, sum := range sums {
		costs[day] = fmt.Sprintf("%d.%04d", sum/10_000, sum%10_000)
	}
	return costs
}

func decodePNG(t *testing.T, path string) image.Image {
	t.Helper()
	file, err := os.Open(path)
	noError(t, err)
	defer file.Close()
	picture, err := png.Decode(file)
	noError(t, err)
	return picture
}
