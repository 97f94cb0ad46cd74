"""Adapters for other libraries: objects that these take in place of their own.

    chroma                  a function for collections of Chroma
    daft                    a function for expressions of Daft
    datasets                columns of vectors for data sets of Hugging Face
    fastembed               the interface of fastembed's models, for sounds and texts
    haystack                components for pipelines of Haystack
    lancedb                 a function for tables of LanceDB
    langchain               embeddings for vector stores of LangChain
    libraries               other libraries: what is missing, too old or too new
    llm                     a plug-in for the command llm
    models                  models by name, and by what a library keeps of them; texts and sounds in one list
    mteb                    a model for `mteb.evaluate`
    ray                     a class for map_batches of Ray Data
    sentence_transformers   the interface of its encoders, for texts and sounds
    sklearn                 a transformer for pipelines of scikit-learn
    txtai                   a backend of vectors for txtai

An adapter's module imports its library; no other part of the package imports one. Imports `library` and below.
"""
