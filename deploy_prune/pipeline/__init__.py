"""Where core and edges meet: recipe, stages and the resumable run store."""
