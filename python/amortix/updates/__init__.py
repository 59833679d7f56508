"""Updates: rules from gradients to parameters. Fixed ones with learned or fixed rates, and learned ones."""
