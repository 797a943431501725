{{/* Generated from operator/src/vernacular_operator/kube/rights.py by `make generate`; do not edit */}}

{{- define "vernacular.rules" -}}
# what is to be done; ttlSecondsAfterFinished
- apiGroups: [vernacular.dev]
  resources: [finetunejobs]
  verbs: [get, list, watch, delete]
# what became of it
- apiGroups: [vernacular.dev]
  resources: [finetunejobs/status]
  verbs: [patch]
# blockOwnerDeletion in the owner references of children
- apiGroups: [vernacular.dev]
  resources: [finetunejobs/finalizers]
  verbs: [update]
# one attempt of a stage each
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# why an attempt ended; pods of a lost node are removed
- apiGroups: ['']
  resources: [pods]
  verbs: [list, watch, delete]
# names of training pods; an existing one is looked at
- apiGroups: ['']
  resources: [services]
  verbs: [get, create]
# workspaces; an existing one is looked at
- apiGroups: ['']
  resources: [persistentvolumeclaims]
  verbs: [get, create]
# what happened, for kubectl describe; why a claim has no volume
- apiGroups: ['']
  resources: [events]
  verbs: [create, list]
{{- end }}

{{- define "vernacular.kueueRules" -}}
# what the queue of a job waits for
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list, watch]
{{- end }}

{{- define "vernacular.ownNamespaceRules" -}}
# its uid tells clusters apart whose server has a public certificate
- apiGroups: ['']
  resources: [namespaces]
  verbs: [get]
{{- end }}

{{- define "vernacular.clusterRules" -}}
# what the platform team decides, read when a job is accepted
- apiGroups: [vernacular.dev]
  resources: [finetuneruntimes]
  verbs: [list]
# its uid tells clusters apart that share an MLflow server
- apiGroups: ['']
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end }}
