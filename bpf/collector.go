package bpf

import "github.com/prometheus/client_golang/prometheus"

var eventsDesc = prometheus.NewDesc("weft_redirection_events_total",
	"Connections redirected, passed or refused, and packets sent or dropped, by reason. "+
		"Of all pods that were ever enrolled on this node.",
	[]string{"action", "reason"}, nil)

var podsDesc = prometheus.NewDesc("weft_redirection_pods",
	"Pods whose traffic is captured on this node.", nil, nil)

// Describe and Collect make the Redirector a prometheus.Collector. Values for a
// single pod are left to Counters, for they would live as short as the pod.
func (r *Redirector) Describe(ch chan<- *prometheus.Desc) {
	ch <- eventsDesc
	ch <- podsDesc
}

// Collect implements prometheus.Collector.
func (r *Redirector) Collect(ch chan<- prometheus.Metric) {
	c, err := r.Counters()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(eventsDesc, err)
		return
	}
	for i, v := range c.Total {
		n := Counter(i)
		ch <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(v), n.Action(), n.Reason())
	}
	ch <- prometheus.MustNewConstMetric(podsDesc, prometheus.GaugeValue, float64(len(c.Pods)))
}
