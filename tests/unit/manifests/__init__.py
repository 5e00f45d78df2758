"""The manifests that come with the project, and the schemas that they have to meet."""
