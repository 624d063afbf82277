-- Which of these raw messages came through after their rejection, and into which layer.
{% import '_place.sql' as at %}
SELECT {{ at.place('resolution') }} AS place, toString(landed) AS landed, sent_at
FROM dlq_resolutions AS resolution
WHERE landed != '' AND {{ at.place('resolution') }} IN {places:Array(String)}
