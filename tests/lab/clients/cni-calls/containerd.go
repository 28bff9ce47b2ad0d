package main

import (
	"context"
	"fmt"

	"github.com/containerd/go-cni"
)

// containerd's CRI service: internal/cri/server/{service_linux,sandbox_run,sandbox_stop,status}.go.

func containerdNetworks(asked *request) (cni.CNI, error) {
	networks, err := cni.New(
		cni.WithMinNetworkCount(2), // the loopback network and the first of the folder
		cni.WithPluginConfDir(confDir),
		cni.WithPluginMaxConfNum(1),
		cni.WithPluginDir([]string{asked.BinDir}),
	)
	if err != nil {
		return nil, err
	}
	return networks, networks.Load(cni.WithLoNetwork, cni.WithDefaultConf)
}

func containerdOptions(asked *request) []cni.NamespaceOpts {
	options := []cni.NamespaceOpts{
		cni.WithLabels(map[string]string{
			"K8S_POD_NAMESPACE":          "default",
			"K8S_POD_NAME":               asked.Hostname,
			"K8S_POD_INFRA_CONTAINER_ID": asked.ID,
			"K8S_POD_UID":                "0b1e0d6c-6f0c-4f0e-9d0a-000000000001",
			"IgnoreUnknown":              "1",
		}),
		cni.WithCapability("io.kubernetes.cri.pod-annotations", asked.Annotations),
	}
	if len(asked.Ports) > 0 {
		options = append(options, cni.WithCapabilityPortMap(asked.Ports))
	}
	return append(
		options,
		cni.WithCapabilityBandWidth(cni.BandWidth{IngressRate: 10_000_000, IngressBurst: 4294967295}),
		cni.WithCapabilityDNS(cni.DNS{Servers: []string{"10.96.0.10"}, Searches: []string{"svc.cluster.local"}}),
		cni.WithCapabilityCgroupPath("/kubepods/pod0b1e0d6c"),
	)
}

// containerdRunPod is RunPodSandbox: ADD of all networks at once; a pod without an address on eth0 is refused. The DEL after
// an error has the namespace.
func containerdRunPod(ctx context.Context, asked *request, said *answer) error {
	networks, err := containerdNetworks(asked)
	if err != nil {
		return err
	}
	result, err := networks.Setup(ctx, asked.ID, asked.NetNS, containerdOptions(asked)...)
	if err == nil {
		seen(said, result)
		if found, ok := result.Interfaces["eth0"]; !ok || len(found.IPConfigs) == 0 {
			err = fmt.Errorf("failed to find network info for sandbox %q", asked.ID)
		}
	}
	if err != nil {
		if undone := networks.Remove(ctx, asked.ID, asked.NetNS, containerdOptions(asked)...); undone != nil {
			said.Ignored = undone.Error()
		}
	}
	return err
}

// containerdStopPod is StopPodSandbox, which has no path once the namespace is closed.
func containerdStopPod(ctx context.Context, asked *request, _ *answer) error {
	networks, err := containerdNetworks(asked)
	if err != nil {
		return err
	}
	return networks.Remove(ctx, asked.ID, asked.NetNS, containerdOptions(asked)...)
}

// containerdStatus decides whether a node is ready.
func containerdStatus(_ context.Context, asked *request, _ *answer) error {
	networks, err := containerdNetworks(asked)
	if err != nil {
		return err
	}
	return networks.Status()
}
