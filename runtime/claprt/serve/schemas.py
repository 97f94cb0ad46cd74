"""The shapes of requests and replies: what is validated, and what the API's own description shows.

`/v1/embeddings` has the field names, defaults and reply of infinity (michaelfeil/infinity, `fastapi_schemas`), which has
them from OpenAI. The forms are what a browser or `curl -F` sends; their fields are those of the JSON bodies, with the file
itself in place of base64.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

Words = Annotated[
    list[str],
    WithJsonSchema(
        {
            "type": "string",
            "description": "a JSON list, or words with commas or line breaks between them; or the field several times",
        }
    ),
]
"""Labels in a form, already split; described as the one string that they are sent as."""

BINARY: dict[str, Any] = {"type": "string", "format": "binary", "description": "a sound file that libsndfile reads"}


class EmbeddingsRequest(BaseModel):
    """Texts, or sounds in base64."""

    input: str | list[str] = Field(
        description='one or several texts; with modality "audio", files in base64 or as `data:` URIs'
    )
    model: str = Field("default/not-specified", description="any name; the service has one model")
    encoding_format: Literal["float", "base64"] = Field("float", description="numbers, or little-endian float32 in base64")
    user: str | None = None
    dimensions: int = Field(
        0, ge=0, description="keep so many numbers of each vector; 0 keeps all, and is the only one CLAP is trained for"
    )
    modality: Literal["text", "audio"] = "text"


class EmbeddingObject(BaseModel):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str
    index: int


class Usage(BaseModel):
    """Tokens of texts; 0 for sounds, which have none."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(BaseModel):
    """Vectors in the order of the input."""

    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: Usage
    id: str
    created: int = Field(description="seconds since 1970")


class _Options(BaseModel):
    template: str | None = Field(None, description="sentence with {} for the label, as in 'This is a sound of {}.'")


class _ClassifyOptions(_Options):
    top_k: int = Field(1, ge=1, description="how many labels `top_k_classes` names")


class _TagOptions(_Options):
    threshold: float = Field(0.5, ge=0, le=1, description="probability from which a tag applies")


class ClassifyRequest(_ClassifyOptions):
    """A sound as base64 of a file, and labels."""

    audio: str
    labels: list[str]


class ClassifyForm(_ClassifyOptions):
    """A file and labels."""

    labels: Words


class TagRequest(_TagOptions):
    """A sound as base64 of a file, and tags."""

    audio: str
    tags: list[str]


class TagForm(_TagOptions):
    """A file and tags."""

    tags: Words


class AnalyseForm(_TagOptions):
    """What the page asks: a file, and labels that may be none."""

    labels: Words = []
    mode: Literal["classify", "tag"] = "classify"


class ProjectRequest(BaseModel):
    """One embedding, or several."""

    embedding: list[float] | None = None
    embeddings: list[list[float]] | None = None
    sound_id: Any = None
    sound_ids: Any = None


def described(json: type[BaseModel] | None = None, form: type[BaseModel] | None = None) -> dict[str, Any]:
    """The request body of an endpoint for the API's description; `form` has a file beside its fields."""
    content: dict[str, Any] = {}
    if json is not None:
        content["application/json"] = {"schema": json.model_json_schema()}
    if form is not None:
        schema = form.model_json_schema()
        schema["properties"] = {"file": BINARY, **schema["properties"]}
        schema["required"] = ["file", *schema.get("required", [])]
        content["multipart/form-data"] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}
