package kube

import (
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config finds the API server: by a kubeconfig's path where it is given, else, within a pod, by what
// Kubernetes puts there, else by $KUBECONFIG or ~/.kube/config. The program names itself to the server.
func Config(kubeconfig, program string) (*rest.Config, error) {
	c, err := config(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the Kubernetes API server: %w (outside of a cluster give --kubeconfig, or set KUBECONFIG)", err)
	}
	c.UserAgent = program
	// The server's own fairness limits us; the client's default of 5 requests a second is for people.
	c.QPS, c.Burst = 100, 200
	return c, nil
}

func config(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return rest.InClusterConfig()
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
}
