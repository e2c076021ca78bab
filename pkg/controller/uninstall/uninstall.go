package uninstall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/pkg/api"
)

// Names of what the chart installs.
const (
	agents      = "weft-agent"
	controllers = "weft-controller"
	labelName   = "app.kubernetes.io/name"
)

// Options of Run.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	// Namespace that Weft is installed in. Default weft-system.
	Namespace string
	// Poll is the time between looks at pods that are to end. Default 500 ms.
	Poll time.Duration
	// Logger says what happens. Default none.
	Logger *zap.Logger
}

// uninstaller is one run.
type uninstaller struct {
	Options
	client  kubernetes.Interface
	objects dynamic.Interface
}

// Run takes Weft out. It ends with ctx, naming what it waited for; run again, it goes on where it was.
func Run(ctx context.Context, o Options) error {
	if o.Namespace == "" {
		o.Namespace = api.SystemNamespace
	}
	if o.Poll == 0 {
		o.Poll = 500 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	client, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	objects, err := dynamic.NewForConfig(o.Config)
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	u := &uninstaller{Options: o, client: client, objects: objects}
	if err := u.mark(ctx); err != nil {
		return err
	}
	if err := u.endAgents(ctx); err != nil {
		return err
	}
	if err := u.endControllers(ctx); err != nil {
		return err
	}
	if err := errors.Join(u.liftTaints(ctx), u.removeMade(ctx)); err != nil {
		return err
	}
	return u.unmark(ctx)
}

// mark says to agents why they end: without it they leave their pods captured, whatever becomes of their
// DaemonSet.
func (u *uninstaller) mark(ctx context.Context) error {
	_, err := u.client.CoreV1().ConfigMaps(u.Namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: api.UninstallConfigMap}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make ConfigMap %s, which agents look for: %w", api.UninstallConfigMap, err)
	}
	return nil
}

func (u *uninstaller) unmark(ctx context.Context) error {
	err := u.client.CoreV1().ConfigMaps(u.Namespace).Delete(ctx, api.UninstallConfigMap, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove ConfigMap %s: %w", api.UninstallConfigMap, err)
	}
	return nil
}

// endAgents has every node cleaned by its agent.
func (u *uninstaller) endAgents(ctx context.Context) error {
	background := metav1.DeletePropagationBackground
	err := u.client.AppsV1().DaemonSets(u.Namespace).Delete(ctx, agents, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete DaemonSet %s: %w", agents, err)
	}
	u.Logger.Info("agents are told to give their nodes back")
	return u.wait(ctx, agents, "their nodes are not clean yet: see their logs, or run `weft-agent cleanup` there")
}

func (u *uninstaller) endControllers(ctx context.Context) error {
	background := metav1.DeletePropagationBackground
	err := u.client.AppsV1().Deployments(u.Namespace).Delete(ctx, controllers, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Deployment %s: %w", controllers, err)
	}
	return u.wait(ctx, controllers, "they would write again what is removed")
}

// wait returns when no pod of a program is left, but for those of nodes that cannot be reached: they end
// with their node.
func (u *uninstaller) wait(ctx context.Context, program, why string) error {
	told := ""
	for {
		left, lost, err := u.pods(ctx, program)
		switch names := strings.Join(left, ", "); {
		case err != nil && ctx.Err() == nil:
			u.Logger.Warn("cannot see the pods; trying again", zap.Error(err))
		case err == nil && len(left) == 0:
			for _, p := range lost {
				u.Logger.Warn("not waited for: its node does not answer. Reboot the node or run `weft-agent cleanup` there before it is used again", zap.String("pod", p))
			}
			u.Logger.Info("all ended", zap.String("program", program))
			return nil
		case names != told && err == nil:
			u.Logger.Info("waiting for pods to end", zap.Strings("pods", left))
			told = names
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pods have not ended in time: %s; %s: %w", told, why, ctx.Err())
		case <-time.After(u.Poll):
		}
	}
}

// pods of a program that have not ended, each with its node; lost are those whose node is not ready.
func (u *uninstaller) pods(ctx context.Context, program string) (left, lost []string, err error) {
	pods, err := u.client.CoreV1().Pods(u.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelName + "=" + program})
	if err != nil {
		return nil, nil, fmt.Errorf("list pods: %w", err)
	}
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded || isJob(&p) {
			continue
		}
		name := p.Name + " on " + p.Spec.NodeName
		if p.Spec.NodeName == "" || u.reachable(ctx, p.Spec.NodeName) {
			left = append(left, name)
		} else {
			lost = append(lost, name)
		}
	}
	return left, lost, nil
}

// isJob holds for the pod that runs this.
func isJob(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.OwnerReferences, func(r metav1.OwnerReference) bool { return r.Kind == "Job" })
}

// reachable holds also where that cannot be known.
func (u *uninstaller) reachable(ctx context.Context, node string) bool {
	n, err := u.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
