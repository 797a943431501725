"""Building the project's images and putting them onto the nodes."""
