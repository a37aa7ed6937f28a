"""Models from the hub: downloaded, verified, published; a name -> a model that can be loaded."""
