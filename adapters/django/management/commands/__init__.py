"""The programs of `karla-receiver` that a Django project needs, with Django set up."""
