// Reads a page as Prometheus' libraries for Go do, and prints each family and each sample on a line:
// `# name type help`, and `name{labels as JSON} number`.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Chosen by the linker.
var version string

func number(value float64) string {
	return strconv.FormatFloat(value, 'g', -1, 64)
}

func line(name string, labels []*dto.LabelPair, le string, value float64) {
	all := map[string]string{}
	for _, label := range labels {
		all[label.GetName()] = label.GetValue()
	}
	if le != "" {
		all["le"] = le
	}
	text, err := json.Marshal(all)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s%s %s\n", name, text, number(value))
}

func main() {
	log.SetFlags(0)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	for name, family := range families {
		fmt.Printf("# %s %s %q\n", name, family.GetType(), family.GetHelp())
		for _, metric := range family.Metric {
			labels := metric.Label
			switch family.GetType() {
			case dto.MetricType_COUNTER:
				line(name, labels, "", metric.Counter.GetValue())
			case dto.MetricType_GAUGE:
				line(name, labels, "", metric.Gauge.GetValue())
			case dto.MetricType_HISTOGRAM:
				histogram := metric.Histogram
				for _, bucket := range histogram.Bucket {
					count := float64(bucket.GetCumulativeCount())
					line(name+"_bucket", labels, number(bucket.GetUpperBound()), count)
				}
				line(name+"_sum", labels, "", histogram.GetSampleSum())
				line(name+"_count", labels, "", float64(histogram.GetSampleCount()))
			default:
				log.Fatalf("%s is a %s", name, family.GetType())
			}
		}
	}
}
