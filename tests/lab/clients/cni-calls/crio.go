package main

import (
	"context"

	"github.com/containernetworking/cni/libcni"
)

// CRI-O's calls, by its library ocicni: pkg/ocicni/ocicni.go, and server/sandbox_network.go of CRI-O.

func crioAttachment(asked *request) *libcni.RuntimeConf {
	args := podArgs(asked, "1")
	if asked.IP != "" {
		args = append(args, [2]string{"IP", asked.IP})
	}
	if asked.MAC != "" {
		args = append(args, [2]string{"MAC", asked.MAC})
	}
	return &libcni.RuntimeConf{ContainerID: asked.ID, NetNS: asked.NetNS, IfName: asked.IfName, Args: args}
}

// podArgs returns the CNI_ARGS that every client from Kubernetes sends.
func podArgs(asked *request, ignore string) [][2]string {
	return [][2]string{
		{"IgnoreUnknown", ignore},
		{"K8S_POD_NAMESPACE", "default"},
		{"K8S_POD_NAME", asked.Hostname},
		{"K8S_POD_INFRA_CONTAINER_ID", asked.ID},
		{"K8S_POD_UID", "0b1e0d6c-6f0c-4f0e-9d0a-000000000001"},
	}
}

// each makes a call for every network of a request.
func each(asked *request, call func(*libcni.CNIConfig, *libcni.NetworkConfigList) error) error {
	networks, err := lists(asked)
	if err != nil {
		return err
	}
	cni := library(asked)
	for _, list := range networks {
		if err := call(cni, list); err != nil {
			return err
		}
	}
	return nil
}

// crioLoad decides whether a network is used: VERSION of each of its plugins.
func crioLoad(ctx context.Context, asked *request, said *answer) error {
	return each(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		capabilities, err := cni.ValidateNetworkList(ctx, list)
		said.Result = capabilities
		return err
	})
}

// crioRunPod adds a pod and checks it at once.
func crioRunPod(ctx context.Context, asked *request, said *answer) error {
	return each(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		result, err := cni.AddNetworkList(ctx, list, crioAttachment(asked))
		if err != nil {
			return err
		}
		said.Result = result
		return cni.CheckNetworkList(ctx, list, crioAttachment(asked))
	})
}

// crioStopPod deletes with config and arguments from libcni's cache of the ADD, and CRI-O's path of the namespace.
func crioStopPod(ctx context.Context, asked *request, _ *answer) error {
	return each(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		config, attachment, err := cni.GetNetworkListCachedConfig(list, crioAttachment(asked))
		if err != nil {
			return err
		}
		if config == nil {
			return cni.DelNetworkList(ctx, list, crioAttachment(asked))
		}
		if list, err = libcni.ConfListFromBytes(config); err != nil {
			return err
		}
		return cni.DelNetworkList(ctx, list, attachment)
	})
}

func crioStatus(ctx context.Context, asked *request, _ *answer) error {
	return each(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		return cni.GetStatusNetworkList(ctx, list)
	})
}

// crioGC sends null if CRI-O has no pod: a nil slice.
func crioGC(ctx context.Context, asked *request, _ *answer) error {
	return each(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		return cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: asked.Valid})
	})
}
