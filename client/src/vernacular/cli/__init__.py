"""The command line `vernacular`, which is `kubectl finetune` as well."""
