package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/containernetworking/cni/libcni"
)

// Multus's calls of a delegate whose config is a list: pkg/multus/multus.go, pkg/types/conf.go, pkg/netutils/netutils.go.

// multusList adds to each plugin of a list what Multus puts into its config: the device of a Kubernetes device plugin under both
// names, and the cni-args of the pod's annotation.
func multusList(asked *request, list *libcni.NetworkConfigList) (*libcni.NetworkConfigList, error) {
	var whole map[string]any
	if err := json.Unmarshal(list.Bytes, &whole); err != nil {
		return nil, err
	}
	for _, one := range whole["plugins"].([]any) {
		plugin := one.(map[string]any)
		if asked.DeviceID != "" {
			plugin["deviceID"] = asked.DeviceID
			plugin["pciBusID"] = asked.DeviceID
		}
		if asked.CNIArgs != nil {
			plugin["args"] = map[string]any{"cni": asked.CNIArgs}
		}
	}
	changed, err := json.Marshal(whole)
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(changed)
}

func multusAttachment(asked *request) *libcni.RuntimeConf {
	args := podArgs(asked, "true")
	if asked.MAC != "" {
		args = append(args, [2]string{"MAC", asked.MAC})
	}
	if asked.IP != "" {
		args = append(args, [2]string{"IP", asked.IP})
	}
	return &libcni.RuntimeConf{
		ContainerID:    asked.ID,
		NetNS:          asked.NetNS,
		IfName:         asked.IfName,
		Args:           args,
		CapabilityArgs: asked.Capabilities,
	}
}

func multusEach(asked *request, call func(*libcni.CNIConfig, *libcni.NetworkConfigList) error) error {
	return each(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		list, err := multusList(asked, list)
		if err != nil {
			return err
		}
		return call(cni, list)
	})
}

func multusAdd(ctx context.Context, asked *request, said *answer) error {
	return multusEach(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		result, err := cni.AddNetworkList(ctx, list, multusAttachment(asked))
		if err != nil {
			// If a network of a pod fails, it deletes those that it has added.
			_ = cni.DelNetworkList(ctx, list, multusAttachment(asked))
			return err
		}
		said.Result = result
		return nil
	})
}

// multusDropDefaultRoute removes the default routes from libcni's cached result, as Multus does after it has deleted them
// in the pod for the sake of another network's.
func multusDropDefaultRoute(_ context.Context, asked *request, said *answer) error {
	path := cached(asked, asked.Networks[0])
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var whole map[string]any
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	result := whole["result"].(map[string]any)
	var kept []any
	for _, route := range result["routes"].([]any) {
		if to := route.(map[string]any)["dst"]; to != "0.0.0.0/0" && to != "::/0" {
			kept = append(kept, route)
		}
	}
	result["routes"] = kept
	said.Result = result
	changed, err := json.Marshal(whole)
	if err != nil {
		return err
	}
	return os.WriteFile(path, changed, 0o600)
}

func multusCheck(ctx context.Context, asked *request, _ *answer) error {
	return multusEach(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		return cni.CheckNetworkList(ctx, list, multusAttachment(asked))
	})
}

func multusDel(ctx context.Context, asked *request, _ *answer) error {
	return multusEach(asked, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
		return cni.DelNetworkList(ctx, list, multusAttachment(asked))
	})
}
