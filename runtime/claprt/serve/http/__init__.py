"""HTTP: the endpoints, their bodies, and the page.

    routes            the endpoints
    openapi           their registration, and the OpenAPI document
    request_bodies    JSON, forms and files of requests; responses in JSON
    embeddings        `/v1/embeddings`, whose vectors `quantised` writes in fewer bytes
    health            `/healthz`, `/readyz`, `/metrics`
    space             `/v1/space`
    rank              `/rank`
    timeline          `/timeline`
    freesound         `/encode_text/`
    page              the page at `/`, whose files are in `static`
    page_data         waveform and log-mel that the page draws
    api_page          the API reference as a page

docs/service-api.md describes the endpoints.
"""
