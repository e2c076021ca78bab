package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/pkg/ca"
)

// ofKubernetes is the value of --token-public-key that takes the keys of the API server.
const ofKubernetes = "kubernetes"

// openTokens makes what verifies service-account tokens. With a nil client the keys are a file's.
func openTokens(ctx context.Context, c config, client *kubernetes.Clientset, log *zap.Logger) (*ca.JWTAuthenticator, error) {
	if client == nil || c.tokenKey != ofKubernetes {
		a, err := ca.NewJWTAuthenticator(ca.JWTOptions{KeyFile: c.tokenKey})
		if err != nil {
			return nil, fmt.Errorf("--token-public-key: %w", err)
		}
		return a, nil
	}
	var a *ca.JWTAuthenticator
	err := patiently(ctx, func() error {
		issuer, err := issuerOf(ctx, client)
		if err != nil {
			return err
		}
		a, err = ca.NewJWTAuthenticator(ca.JWTOptions{Issuer: issuer, Fetch: func(ctx context.Context) ([]byte, error) {
			return client.Discovery().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(ctx)
		}})
		return err
	}, func(err error, retry time.Duration) {
		log.Error("the public keys of service-account tokens are not known yet, nothing is served before", zap.Duration("retryIn", retry), zap.Error(err))
	})
	return a, err
}

// issuerOf asks who issues the cluster's tokens.
func issuerOf(ctx context.Context, client *kubernetes.Clientset) (string, error) {
	data, err := client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the API server for the issuer of its tokens: %w", err)
	}
	var doc struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", fmt.Errorf("ask the API server for the issuer of its tokens: %w", err)
	}
	if doc.Issuer == "" {
		return "", errors.New("the API server names no issuer of its tokens in /.well-known/openid-configuration")
	}
	return doc.Issuer, nil
}
