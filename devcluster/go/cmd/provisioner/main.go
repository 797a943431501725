// Command provisioner makes directories on this machine into PersistentVolumes, as a cloud's provisioner makes disks.
//
// Two classes: ReadWriteOnce volumes belong to one node (node affinity, volume type local) and are made only when
// a pod is scheduled; ReadWriteMany volumes are one directory seen by all nodes, which share this machine's files.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	localName  = "devcluster/local"
	sharedName = "devcluster/shared"
	hostname   = "kubernetes.io/hostname"
)

type provisioner struct{ folder string }

func (p provisioner) path(name, node string) string {
	if node == "" {
		return filepath.Join(p.folder, "shared", name)
	}
	return filepath.Join(p.folder, node, name)
}

func (p provisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	node := ""
	if o.StorageClass.Provisioner == localName {
		node = o.SelectedNodeName
		if node == "" {
			return nil, controller.ProvisioningFinished, fmt.Errorf("class %s needs volumeBindingMode WaitForFirstConsumer", o.StorageClass.Name)
		}
		for _, mode := range o.PVC.Spec.AccessModes {
			if mode == v1.ReadWriteMany || mode == v1.ReadOnlyMany {
				return nil, controller.ProvisioningFinished, fmt.Errorf("class %s is on one node only and cannot be %s; use class shared", o.StorageClass.Name, mode)
			}
		}
	}
	path := p.path(o.PVName, node)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// Pods run as any user; the umask of this process must not decide who may write.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return volume(o, path, node), controller.ProvisioningFinished, nil
}

func volume(o controller.ProvisionOptions, path, node string) *v1.PersistentVolume {
	spec := v1.PersistentVolumeSpec{
		PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
		AccessModes:                   o.PVC.Spec.AccessModes,
		MountOptions:                  o.StorageClass.MountOptions,
		Capacity:                      v1.ResourceList{v1.ResourceStorage: o.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
	}
	labels := map[string]string{}
	if node == "" {
		spec.HostPath = &v1.HostPathVolumeSource{Path: path}
	} else {
		labels[hostname] = node
		spec.Local = &v1.LocalVolumeSource{Path: path}
		spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: hostname, Operator: v1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}
	}
	return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: o.PVName, Labels: labels}, Spec: spec}
}

func (p provisioner) Delete(_ context.Context, pv *v1.PersistentVolume) error {
	return os.RemoveAll(p.path(pv.Name, pv.Labels[hostname]))
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file with the address and the certificate to use")
	folder := flag.String("folder", "", "directory under which the volumes lie")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	ctx := context.Background()
	for _, name := range []string{localName, sharedName} {
		c := controller.NewProvisionController(ctx, client, name, provisioner{*folder}, controller.LeaderElection(false))
		go c.Run(ctx)
	}
	<-ctx.Done()
}
