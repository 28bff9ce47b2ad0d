package main

import (
	"context"
	"fmt"

	"github.com/containerd/go-cni"
)

// nerdctl's calls: pkg/ocihook/ocihook.go, functions applyNetworkSettings and onPostStop.

func nerdctlNetworks(asked *request) (cni.CNI, error) {
	networks, err := lists(asked)
	if err != nil {
		return nil, err
	}
	options := []cni.Opt{cni.WithPluginDir([]string{asked.BinDir})}
	for _, list := range networks {
		options = append(options, cni.WithConfListBytes(list.Bytes))
	}
	return cni.New(options...)
}

// nerdctlOptions returns what both hooks pass for a container. IgnoreUnknown is passed only with an address.
func nerdctlOptions(asked *request) []cni.NamespaceOpts {
	loose := cni.WithLabels(map[string]string{"IgnoreUnknown": "1"})
	var options []cni.NamespaceOpts
	if len(asked.Ports) > 0 {
		options = append(options, cni.WithCapabilityPortMap(asked.Ports))
	}
	if asked.IP != "" {
		options = append(options, loose, cni.WithArgs("IP", asked.IP))
	}
	if asked.MAC != "" {
		options = append(options, loose, cni.WithArgs("MAC", asked.MAC))
	}
	if asked.IP6 != "" {
		options = append(options, loose, cni.WithCapability("ips", []string{asked.IP6}))
	}
	return options
}

// nerdctlCreateRuntime is the OCI hook createRuntime: DEL of what an earlier run left, and ADD.
func nerdctlCreateRuntime(ctx context.Context, asked *request, said *answer) error {
	networks, err := nerdctlNetworks(asked)
	if err != nil {
		return err
	}
	options := append(
		nerdctlOptions(asked),
		cni.WithLabels(map[string]string{"IgnoreUnknown": "1"}),
		cni.WithArgs("NERDCTL_CNI_DHCP_HOSTNAME", asked.Hostname),
	)
	if err := networks.Remove(ctx, asked.ID, "", options...); err != nil {
		said.Ignored = err.Error()
	}
	result, err := networks.Setup(ctx, asked.ID, asked.NetNS, options...)
	if err != nil {
		_ = networks.Remove(ctx, asked.ID, asked.NetNS, options...)
		return fmt.Errorf("failed to call cni.Setup: %w", err)
	}
	seen(said, result)
	return nil
}

// nerdctlPostStop is the OCI hook postStop, which `nerdctl kill` runs too, whatever the signal.
func nerdctlPostStop(ctx context.Context, asked *request, _ *answer) error {
	networks, err := nerdctlNetworks(asked)
	if err != nil {
		return err
	}
	return networks.Remove(ctx, asked.ID, "", nerdctlOptions(asked)...)
}
